#include "cli/chat.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/user_folders.h"
#include "cli/answer_printer.h"
#include "cli/command_line.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/run_report.h"
#include "cli/terminal.h"

namespace sluice::cli {

struct Chat::Command {
    std::string_view name, argument, help;
    void (Chat::*run)(const std::string& argument);
};

const Chat::Command Chat::kCommands[] = {
    {"/help", "", "this list", &Chat::help},
    {"/system", "TEXT", "other instructions for the model; without TEXT none", &Chat::system},
    {"/save", "FILE", "writes the conversation as JSON", &Chat::save},
    {"/load", "FILE", "goes on with a conversation that was saved", &Chat::load},
    {"/retry", "", "another answer to what you said last", &Chat::retry},
    {"/undo", "", "takes back what you said last, and its answer", &Chat::undo},
    {"/reset", "", "forgets the conversation", &Chat::reset},
    {"/stats", "", "how full the context is, and how fast it went", &Chat::statistics},
    {"/exit", "", "leaves, as Ctrl-D does", &Chat::leave},
};

namespace {

constexpr const char* kGreeting =
    "/help lists the commands; Ctrl-C stops an answer; Alt-Enter, or \\ at the end of a line, begins another line\n";

// "/save" and "notes.json" of "/save notes.json". A word with another slash, as in a path, is no command.
std::pair<std::string, std::string> command_of(const std::string& turn) {
    const size_t end = std::min(turn.find_first_of(" \n"), turn.size());
    const std::string word = turn.substr(0, end);
    if (word.size() < 2 || word.front() != '/' || word.find('/', 1) != std::string::npos) return {};
    const size_t begin = turn.find_first_not_of(" \n", end);
    if (begin == std::string::npos) return {word, {}};
    return {word, turn.substr(begin, turn.find_last_not_of(" \n") + 1 - begin)};
}

void need(const std::string& argument, std::string_view command) {
    if (argument.empty()) fail(ErrorCode::kUsage, "{} needs the name of a file", command);
}

}  // namespace

Chat::Chat(Engine& engine, const ChatOptions& options, TurnReader& reader, bool terminal)
    : engine_(engine), options_(options), reader_(reader), terminal_(terminal), conversation_(engine) {
    conversation_.set_system(options.system);
}

// A line for the person, beside the conversation.
template <typename... Args>
void Chat::say(fmt::format_string<Args...> format, Args&&... args) const {
    if (options_.quiet) return;
    const bool dim = has_colours(STDERR_FILENO);
    tell("{}[{}]{}\n", dim ? kDim : "", fmt::format(format, std::forward<Args>(args)...), dim ? kNormal : "");
}

void Chat::run() {
    if (terminal_ && !options_.quiet) tell("{}", kGreeting);
    while (!done_ && output_.open() && !asked_to_end()) {
        const Turn turn = reader_.read();
        if (turn.kind == Turn::Kind::kEnd) break;
        if (turn.kind == Turn::Kind::kText && !turn.text.empty()) take(turn.text);
        if (interrupted() && !terminal_) break;
        if (!asked_to_end()) forget_interrupt();
    }
    engine_.save_trace();
}

void Chat::take(const std::string& turn) {
    try {
        if (!run_command(turn)) answer(turn);
    } catch (const Error& error) {
        // At a terminal there is somebody to say it differently.
        if (!terminal_ || !engine_.lost().empty()) throw;
        if (error.code() == ErrorCode::kCancelled) {
            say("stopped before the answer began; what you said is taken back");
        } else {
            complain(error.what(), kExitFailed);
        }
    }
}

bool Chat::run_command(const std::string& turn) {
    const auto [word, argument] = command_of(turn);
    if (word.empty()) return false;
    for (const Command& command : kCommands) {
        if (command.name != word) continue;
        (this->*command.run)(argument);
        return true;
    }
    tell("sluice: {} is no command; /help lists them\n", word);
    return true;
}

void Chat::answer(const std::string& said) {
    retries_ = 0;
    generate(said);
}

void Chat::generate(const std::string& said) {
    GenerationOptions options = generation_options(options_.sampling, engine_.defaults().sampling);
    options.sampling.seed += retries_;
    std::unique_ptr<Progress> progress;
    auto printer = std::make_unique<AnswerPrinter>(output_, options_.quiet);
    ReplyListener listener;
    listener.delta = [&](const OutputDelta& delta) {
        progress.reset();
        return printer->print(delta) && !interrupted();
    };
    listener.progress = [&](int64_t done, int64_t total) {
        if (!progress) progress = std::make_unique<Progress>("reading", static_cast<uint64_t>(total), !options_.quiet);
        progress->advance_to(static_cast<uint64_t>(done));
        return !interrupted();
    };
    listener.left_out = [&](size_t exchanges) {
        say("the context of {} tokens is full: the oldest {} left out, and the rest goes on; a larger --context holds "
            "more",
            engine_.info().context, exchanges == 1 ? "exchange is" : fmt::format("{} exchanges are", exchanges));
    };
    const GenerationResult result = conversation_.reply(said, options, listener);
    progress.reset();
    printer.reset();
    ++answers_;
    generated_tokens_ += result.token_ids.size();
    decode_seconds_ += result.decode_s;
    tell_figures(result);
}

void Chat::tell_figures(const GenerationResult& result) const {
    const auto ending = [&]() -> std::string {
        switch (result.finish) {
            case FinishReason::kStop:
                return {};
            case FinishReason::kCancelled:
                return ", stopped; the conversation goes on";
            case FinishReason::kContext:
                return ", cut off where the context is full; the oldest exchanges will be left out";
            default:
                return fmt::format(", ended by {}", finish_name(result.finish));
        }
    };
    const RunFigures figures = figures_of(result);
    say("{:.1f} tok/s, {} tokens evaluated, first token {:.2f} s, hit rate {:.1f} %{}", figures.decode_tokens_per_s,
        result.prefilled_tokens, result.time_to_first_token_s, 100 * figures.hit_rate, ending());
}

void Chat::help(const std::string&) {
    for (const Command& command : kCommands) {
        tell("  {:14} {}\n", fmt::format("{} {}", command.name, command.argument), command.help);
    }
    tell("{}", kGreeting);
}

void Chat::system(const std::string& argument) {
    conversation_.set_system(argument);
    say("{}", argument.empty() ? "no instructions from now on" : "other instructions from now on");
}

void Chat::save(const std::string& argument) {
    need(argument, "/save");
    const std::string text = conversation_.document().dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
    write_text_file(expand_home(argument), text + "\n", Privacy::kPrivate);
    say("saved to {}", argument);
}

void Chat::load(const std::string& argument) {
    need(argument, "/load");
    const std::string path = expand_home(argument);
    conversation_.replace(parse_ordered_json(read_text(path), path), path);
    say("{} exchanges loaded", conversation_.exchanges());
}

void Chat::retry(const std::string&) {
    const nlohmann::ordered_json before = conversation_.document();
    const std::optional<std::string> said = conversation_.undo();
    if (!said) fail(ErrorCode::kUsage, "/retry: nothing was said yet");
    ++retries_;
    try {
        generate(*said);
    } catch (...) {
        conversation_.replace(before, "the conversation");
        throw;
    }
}

void Chat::undo(const std::string&) {
    const std::optional<std::string> said = conversation_.undo();
    if (!said) fail(ErrorCode::kUsage, "/undo: nothing was said yet");
    say("taken back; {} exchanges are left", conversation_.exchanges());
}

void Chat::reset(const std::string&) {
    conversation_.reset();
    say("the conversation is forgotten");
}

void Chat::statistics(const std::string&) {
    const EngineStatistics spent = engine_.statistics();
    const EngineInfo& info = engine_.info();
    tell("  conversation  {} exchanges, {} left out; {} of {} tokens of the context are full\n",
         conversation_.exchanges(), conversation_.exchanges_left_out(), conversation_.tokens(), info.context);
    tell("  answers       {}, {} tokens, {:.1f} tok/s\n", answers_, generated_tokens_,
         per_second(static_cast<double>(generated_tokens_), decode_seconds_));
    tell("  experts       hit rate {:.1f} %, {} read, stalled {:.2f} s\n", 100 * hit_rate(spent),
         format_size(spent.experts.bytes_read), spent.experts.stall_seconds);
    tell("  memory        {}\n", memory_spent(info, spent.peak_resident_bytes));
    tell("  model         {}: {}\n", info.model_name, describe_engine(info));
}

void Chat::leave(const std::string&) {
    done_ = true;
}

}  // namespace sluice::cli
