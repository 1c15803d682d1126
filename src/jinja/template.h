#pragma once

#include <string>
#include <string_view>

#include "jinja/ast.h"
#include "jinja/render.h"

namespace sluice::jinja {

// Variables that every rendering of a template has, beneath those of its own; trusted as its own text is.
using Defaults = std::vector<std::pair<std::string, Value>>;  // strings made with SourcedText(text, true)

// A parsed template. Immutable.
struct Template {
    std::string label;
    Block body;
};

// Throws Error kInvalidFile "label:line: what is wrong".
Template parse(std::string_view source, const std::string& label);

// `variables` is a JSON object. Throws Error kUsage: the words of raise_exception, or "label:line: what went wrong".
SourcedText render(const Template& source, const Defaults& defaults, std::string_view variables,
                   const Limits& limits = {});

}  // namespace sluice::jinja
