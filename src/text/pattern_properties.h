#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// What PCRE2 calls the property that Oniguruma's \p{name} means; empty for a name with odd characters in it. A name
// that is not known is taken for a script, and then PCRE2 says whether there is such a one.
std::optional<std::string> pcre2_property_name(std::string_view name);

}  // namespace sluice
