#include <fmt/core.h>

#include <memory>

#include "cli/output.h"
#include "cli/shell_completion.h"
#include "cli/verb.h"

namespace sluice::cli {

Command declare_completion() {
    auto shell = std::make_shared<std::string>();
    Command command;
    command.flags.push_back({.names = "SHELL",
                             .help = "bash, zsh or fish",
                             .take =
                                 [shell](const std::string& text) {
                                     *shell = text;
                                     std::string all;
                                     for (const std::string_view name : completed_shells()) {
                                         if (name == text) return std::string();
                                         all += (all.empty() ? "" : ", ") + std::string(name);
                                     }
                                     return fmt::format("\"{}\" is none of {}", text, all);
                                 },
                             .required = true});
    command.run = [shell] { Output().write(shell_completion(*shell)); };
    return command;
}

}  // namespace sluice::cli
