#pragma once

#include <optional>
#include <string_view>

namespace sluice::jinja {

// The character that Unicode gives this name, in letters of any case: for \N{...} in strings. Nothing for a name that
// is not in the table, which holds the common blocks.
std::optional<char32_t> character_named(std::string_view name);

}  // namespace sluice::jinja
