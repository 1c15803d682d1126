#include <unistd.h>

#include <memory>
#include <optional>

#include "base/error.h"
#include "base/user_folders.h"
#include "cli/chat.h"
#include "cli/interrupt.h"
#include "cli/line_editor.h"
#include "cli/model_flags.h"
#include "cli/prompt_flags.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelFlags model;
    ChatOptions chat;
    std::optional<std::string> history;
};

// Where lines are kept between runs; an empty path: nowhere.
std::filesystem::path history_path(const Flags& flags) {
    if (flags.history) return *flags.history;
    const std::filesystem::path folder = user_cache_folder();
    return folder.empty() ? folder : folder / "chat-history";
}

void chat(Flags& flags) {
    std::optional<InterruptHold> hold;  // outlives the engine, whose end may write a file
    const std::unique_ptr<Engine> engine = open_engine(flags.model);
    hold.emplace();
    tokenizer_of(*engine);
    if (engine->chat_template() == nullptr) {
        fail(ErrorCode::kUnsupported, "{} has no chat template, so it cannot hold a conversation; use generate",
             engine->info().model_name);
    }
    const bool terminal = ::isatty(STDIN_FILENO) == 1;
    const LineHistory history(history_path(flags));
    std::unique_ptr<TurnReader> reader = line_editor(history);
    if (!reader) reader = plain_reader(terminal);
    flags.chat.quiet = flags.model.quiet;
    Chat(*engine, flags.chat, *reader, terminal).run();
}

}  // namespace

Command declare_chat() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    list.push_back(
        text_flag("--system", flags->chat.system, "Instructions that stand before the conversation", "TEXT"));
    Flag history{.names = "--history",
                 .help =
                     "Where lines typed at a terminal are kept for the next time, for you alone; \"\": nowhere; "
                     "default: chat-history in ~/.cache/sluice",
                 .value = "F"};
    history.take = [flags](const std::string& text) {
        flags->history = text;
        return std::string();
    };
    list.push_back(std::move(history));
    add_sampling_flags(list, flags->chat.sampling, 1024);
    add_engine_flags(command, flags->model);
    flags->model.engine.prefix_memory_bytes.reset();  // the engine's own choice: conversations begin alike
    command.run = [flags] { chat(*flags); };
    return command;
}

}  // namespace sluice::cli
