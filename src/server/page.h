#pragma once

#include <string_view>

namespace sluice::server {

// page.html, in which {{nonce}} stands where the nonce of the content security policy belongs.
extern const std::string_view kPageText;

}  // namespace sluice::server
