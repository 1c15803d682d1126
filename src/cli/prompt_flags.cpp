#include "cli/prompt_flags.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/input.h"
#include "cli/verb.h"

namespace sluice::cli {

void add_prompt_flags(CLI::App& app, PromptFlags& flags) {
    constexpr const char* kGroup = "The prompt (one of these)";
    app.add_option("--prompt,-p", flags.text, "The text to continue")->group(kGroup);
    app.add_option("--prompt-file,-f", flags.text_file, "A file with it; - is standard input")
        ->type_name("F")
        ->group(kGroup);
    app.add_option("--tokens", flags.token_file, "A JSON array of token ids; needs no tokenizer")
        ->type_name("F.json")
        ->group(kGroup);
}

Prompt read_prompt(const PromptFlags& flags, const std::optional<std::string>& otherwise) {
    const int given = (flags.text ? 1 : 0) + (flags.text_file.empty() ? 0 : 1) + (flags.token_file.empty() ? 0 : 1);
    if (given > 1) throw UsageError("--prompt, --prompt-file and --tokens exclude each other; give one of them");
    if (given == 0 && !otherwise) throw UsageError("no prompt; give --prompt, --prompt-file or --tokens");
    Prompt prompt;
    if (!flags.token_file.empty()) {
        prompt.ids = read_token_file(flags.token_file);
    } else if (!flags.text_file.empty()) {
        prompt.text = read_text(flags.text_file);
    } else {
        prompt.text = flags.text ? flags.text : otherwise;
    }
    return prompt;
}

const Tokenizer& tokenizer_of(const Engine& engine) {
    if (engine.tokenizer() == nullptr) {
        fail(ErrorCode::kUnsupported, "{} has no tokenizer.json, so text means nothing to it; give ids with --tokens",
             engine.info().model_name);
    }
    return *engine.tokenizer();
}

std::vector<TokenId> prompt_ids(const Prompt& prompt, const Engine& engine) {
    std::vector<TokenId> ids = prompt.text ? tokenizer_of(engine).encode(*prompt.text) : prompt.ids;
    if (ids.empty()) fail(ErrorCode::kUsage, "the prompt is empty; give at least one token of text");
    const auto length = static_cast<int64_t>(ids.size());
    if (length > engine.info().largest_context) {
        fail(ErrorCode::kContextFull, "the prompt has {} tokens and this model takes at most {}; give a shorter prompt",
             length, engine.info().largest_context);
    }
    if (length > engine.info().context) {
        fail(ErrorCode::kContextFull,
             "the prompt has {} tokens and the context holds {}; give a --context above {}, or "
             "a shorter prompt",
             length, engine.info().context, length);
    }
    return ids;
}

}  // namespace sluice::cli
