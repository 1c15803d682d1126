#pragma once

#include <span>

#include "jinja/builtin.h"

namespace sluice::jinja {

// Sorted by name.
std::span<const Builtin> text_filters();
std::span<const Builtin> item_filters();
std::span<const Builtin> choice_filters();  // those that take the name of another filter or of a test
std::span<const Builtin> number_filters();
std::span<const Builtin> html_filters();
std::span<const Builtin> wrap_filters();
std::span<const Builtin> print_filters();
std::span<const Builtin> link_filters();

// "address.city.0": names and indexes with dots between. An attribute of none is the item itself. Where a part is
// missing and `fallback` is not none, the fallback takes its place.
Value attribute_path(const Value& item, const Value& attribute, const Value& fallback);
// Strings in lower case, everything else as it is.
Value ignore_case(const Value& value);

}  // namespace sluice::jinja
