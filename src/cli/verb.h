#pragma once

#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace CLI {
class App;
}

namespace sluice::cli {

// Exit statuses, as scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// Arguments that make no sense whatever the model is: exit 2. What depends on files or on the machine is an Error: exit
// 1.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

using RunVerb = std::function<void()>;

// One word after `sluice`. `declare` adds the flags to the subcommand and returns what runs once they are parsed.
struct Verb {
    std::string_view name;
    std::string_view summary;
    std::string_view examples;  // printed under --help
    RunVerb (*declare)(CLI::App& app);
};

// In the order in which --help lists them.
std::span<const Verb> verbs();

// The verb most like `word`; empty where none is near.
std::string nearest_verb(std::string_view word);

RunVerb declare_generate(CLI::App& app);
RunVerb declare_chat(CLI::App& app);
RunVerb declare_inspect(CLI::App& app);
RunVerb declare_plan(CLI::App& app);
RunVerb declare_pack(CLI::App& app);
RunVerb declare_synth(CLI::App& app);
RunVerb declare_tokenize(CLI::App& app);
RunVerb declare_render(CLI::App& app);
RunVerb declare_logits(CLI::App& app);
RunVerb declare_perplexity(CLI::App& app);
RunVerb declare_bench(CLI::App& app);
RunVerb declare_bench_disk(CLI::App& app);
RunVerb declare_cache_sim(CLI::App& app);
RunVerb declare_doctor(CLI::App& app);

}  // namespace sluice::cli
