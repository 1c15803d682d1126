#pragma once

#include <string>
#include <string_view>

namespace sluice {

// tokenizer.json writes its patterns for Oniguruma. The same pattern in PCRE2's syntax, for compilation with UTF, UCP
// and MULTILINE, where the two differ: \s \w \b \h \v \uHHHH and property names, nested classes and && in classes,
// scripts (PCRE2 means script extensions), (?m) and bare (?i), {n,m}+ and {,m}, stacked quantifiers. Throws
// kUnsupported, beginning with `place`, for syntax that has no equivalent here.
std::string translate_oniguruma(std::string_view pattern, const std::string& place);

}  // namespace sluice
