#pragma once

#include <string>
#include <string_view>

namespace sluice {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// Unicode normalization of valid UTF-8, in time linear in the text but for the sorting of runs of marks.
std::string to_unicode_form(std::string_view text, UnicodeForm form);

}  // namespace sluice
