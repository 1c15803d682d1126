#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice::cli {

// "bash", "zsh", "fish".
std::span<const std::string_view> completed_shells();

// A script that lets the shell complete verbs, flags and the values of those that are a choice; files elsewhere. From
// the tables of verbs and options. `shell`: one of the above.
std::string shell_completion(std::string_view shell);

}  // namespace sluice::cli
