#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "jinja/value.h"

namespace sluice::jinja {

// The arguments of Python's json.dumps.
struct JsonStyle {
    bool ensure_ascii = false;
    bool sort_keys = false;
    std::optional<std::string> indent;  // per level; nothing: all on one line
    std::string item_separator = ", ";
    std::string key_separator = ": ";
};

// Throws Failure for what JSON has no form for, undefined included.
std::string json_text(const Value& value, const JsonStyle& style);
// The JSON text as Python's json.dumps writes it, and with it the models; as it is where it is none, or nests deeper
// than values may.
std::string python_json(const std::string& text);
// Keeps the order of keys. Throws Failure "what is wrong at which byte".
Value parse_json(std::string_view text);

}  // namespace sluice::jinja
