#include <fmt/core.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/command_line.h"
#include "cli/conversation.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/prompt_flags.h"
#include "cli/run_report.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelFlags model;
    SamplingFlags sampling;
    std::string system;
};

constexpr const char* kCommands =
    "/reset forgets the conversation, /system TEXT sets the instructions, /exit leaves; a line that ends in "
    "\\ goes on";

// One line of input; lines that end in a backslash are joined to the next. Nothing at the end of the input.
std::optional<std::string> read_turn(bool terminal) {
    std::string turn, line;
    while (true) {
        if (terminal) tell("{}", turn.empty() ? "> " : "  ");
        if (!std::getline(std::cin, line)) return std::nullopt;
        if (line.empty() || line.back() != '\\') return turn + line;
        line.back() = '\n';
        turn += line;
    }
}

class Chat {
  public:
    Chat(Engine& engine, const Flags& flags) : engine_(engine), flags_(flags), conversation_(engine) {
        conversation_.set_system(flags.system);
    }

    void run() {
        const bool terminal = ::isatty(STDIN_FILENO) == 1;
        if (terminal && !flags_.model.quiet) tell("{}\n", kCommands);
        while (output_.open()) {
            const std::optional<std::string> turn = read_turn(terminal);
            if (!turn || *turn == "/exit") break;
            if (turn->empty() || command(*turn)) continue;
            try {
                answer(*turn);
            } catch (const Error& error) {
                // At a terminal there is somebody to say it differently, or to /reset.
                if (!terminal) throw;
                complain(error.what(), kExitFailed);
            }
            if (interrupted() && !terminal) break;
            forget_interrupt();
        }
        engine_.save_trace();
    }

  private:
    bool command(const std::string& turn) {
        if (turn.front() != '/') return false;
        const std::string word = turn.substr(0, turn.find(' '));
        if (word == "/reset") {
            conversation_.reset();
        } else if (word == "/system") {
            conversation_.set_system(turn.size() > word.size() ? turn.substr(word.size() + 1) : std::string());
        } else {
            tell("sluice: {} is no command; {}\n", word, kCommands);
        }
        return true;
    }

    void answer(const std::string& said) {
        const GenerationOptions options = generation_options(flags_.sampling, engine_.defaults().sampling);
        std::unique_ptr<Progress> progress;
        const GenerationResult result = conversation_.reply(
            said, options,
            [&](TokenId, const std::string& text) {
                progress.reset();
                return output_.write(text) && !interrupted();
            },
            [&](int64_t done, int64_t total) {
                if (!progress) {
                    progress = std::make_unique<Progress>("reading", static_cast<uint64_t>(total), !flags_.model.quiet);
                }
                progress->advance_to(static_cast<uint64_t>(done));
                return !interrupted();
            });
        progress.reset();
        output_.write("\n");
        if (flags_.model.quiet) return;
        const RunFigures figures = figures_of(result);
        tell("[{:.1f} tok/s, {} tokens evaluated, first token {:.2f} s, hit rate {:.1f} %{}]\n",
             figures.decode_tokens_per_s, result.prefilled_tokens, result.time_to_first_token_s, 100 * figures.hit_rate,
             result.finish == FinishReason::kStop ? std::string()
                                                  : fmt::format(", ended by {}", finish_name(result.finish)));
    }

    Engine& engine_;
    const Flags& flags_;
    Conversation conversation_;
    Output output_;
};

}  // namespace

Command declare_chat() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(model_argument(flags->model.model));
    list.push_back(text_flag("--system", flags->system, "Instructions that stand before the conversation", "TEXT"));
    add_sampling_flags(list, flags->sampling, 1024);
    add_engine_flags(list, flags->model);
    flags->model.engine.prefix_memory_bytes.reset();  // the engine's own choice: conversations begin alike
    command.run = [flags] {
        std::optional<InterruptHold> hold;  // outlives the engine, whose end may write a file
        const std::unique_ptr<Engine> engine = open_engine(flags->model);
        hold.emplace();
        tokenizer_of(*engine);
        if (engine->chat_template() == nullptr) {
            fail(ErrorCode::kUnsupported, "{} has no chat template, so it cannot hold a conversation; use generate",
                 engine->info().model_name);
        }
        Chat(*engine, *flags).run();
    };
    return command;
}

}  // namespace sluice::cli
