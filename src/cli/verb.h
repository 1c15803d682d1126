#pragma once

#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "cli/flag.h"

namespace sluice::cli {

// Exit statuses, as scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// Arguments that make no sense whatever the model is: exit 2. What depends on files or on the machine is an Error: exit
// 1.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

using RunVerb = std::function<void()>;

// The flags of a verb, and what runs once they are parsed.
struct Command {
    FlagList flags;
    RunVerb run;
    RunVerb help = {};  // what the processes do that a launcher started beside the one that leads; empty: nothing
};

// One word after `sluice`.
struct Verb {
    std::string_view name;
    std::string_view summary;
    std::string_view examples;  // printed under --help
    Command (*declare)();
};

// In the order in which --help lists them.
std::span<const Verb> verbs();

// The verb most like `word`; empty where none is near.
std::string nearest_verb(std::string_view word);

Command declare_generate();
Command declare_chat();
Command declare_serve();
Command declare_list();
Command declare_pull();
Command declare_inspect();
Command declare_plan();
Command declare_pack();
Command declare_synth();
Command declare_tokenize();
Command declare_render();
Command declare_parse_output();
Command declare_logits();
Command declare_perplexity();
Command declare_bench();
Command declare_bench_disk();
Command declare_cache_sim();
Command declare_doctor();
Command declare_completion();
Command declare_manual();

}  // namespace sluice::cli
