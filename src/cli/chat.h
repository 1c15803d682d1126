#pragma once

#include <string>

#include "cli/conversation.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/turn_reader.h"

namespace sluice::cli {

struct ChatOptions {
    SamplingFlags sampling;
    std::string system;
    bool quiet = false;
};

// A conversation between whoever is at `reader` and a model: turns that begin with "/" and a word are commands, others
// are answered. At a terminal errors and Ctrl-C end an answer and the conversation goes on; elsewhere they end it.
class Chat {
  public:
    // All must outlive this. `terminal`: a person types.
    Chat(Engine& engine, const ChatOptions& options, TurnReader& reader, bool terminal);

    void run();

  private:
    struct Command;
    static const Command kCommands[];

    void take(const std::string& turn);
    bool run_command(const std::string& turn);
    void answer(const std::string& said);
    void generate(const std::string& said);
    void tell_figures(const GenerationResult& result) const;
    template <typename... Args>
    void say(fmt::format_string<Args...> format, Args&&... args) const;

    void help(const std::string& argument);
    void system(const std::string& argument);
    void save(const std::string& argument);
    void load(const std::string& argument);
    void retry(const std::string& argument);
    void undo(const std::string& argument);
    void reset(const std::string& argument);
    void statistics(const std::string& argument);
    void leave(const std::string& argument);

    Engine& engine_;
    const ChatOptions& options_;
    TurnReader& reader_;
    const bool terminal_;
    Conversation conversation_;
    Output output_;
    bool done_ = false;
    uint64_t retries_ = 0;
    size_t answers_ = 0;
    uint64_t generated_tokens_ = 0;
    double decode_seconds_ = 0;
};

}  // namespace sluice::cli
