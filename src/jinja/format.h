#pragma once

// Python's two ways to fill values into a string.

#include <string>
#include <string_view>

#include "jinja/value.h"

namespace sluice::jinja {

// `format % values`: `values` is a tuple, a dict for %(name)s, or the single value.
SourcedText percent_format(const SourcedText& format, const Value& values);
// format.format(*positional, **keywords)
SourcedText brace_format(const SourcedText& format, const CallArguments& values);
// One value by a format specification such as "<8", ",.2f" or "05d".
std::string format_value(const Value& value, std::string_view specification);

}  // namespace sluice::jinja
