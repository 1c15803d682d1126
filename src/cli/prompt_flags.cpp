#include "cli/prompt_flags.h"

#include "base/error.h"
#include "cli/input.h"
#include "cli/verb.h"

namespace sluice::cli {

void add_prompt_flags(FlagList& list, PromptFlags& flags) {
    Flag text{.names = "--prompt,-p", .help = "The text to continue", .value = "TEXT"};
    text.take = [&flags](const std::string& given) {
        flags.text = given;
        return std::string();
    };
    const size_t first = list.size();
    list.push_back(std::move(text));
    list.push_back(text_flag("--prompt-file,-f", flags.text_file, "A file with it; - is standard input", "F"));
    list.push_back(text_flag("--tokens", flags.token_file, "A JSON array of token ids; needs no tokenizer", "F.json"));
    for (size_t i = first; i < list.size(); ++i) list[i].group = "The prompt (one of these)";
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
    std::vector<TokenId> ids = prompt.text ? tokenizer_of(engine).encode(*prompt.text, true) : prompt.ids;
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
