#pragma once

#include <string>
#include <string_view>

namespace sluice::grammar {

// A reference against the URI that it is relative to (RFC 3986, section 5.2), both without fragment.
std::string resolve_uri(std::string_view base, std::string_view reference);
// %41 as A.
std::string decode_percent(std::string_view text);

}  // namespace sluice::grammar
