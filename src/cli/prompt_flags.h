#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/flag.h"
#include "sluice/engine.h"

namespace sluice::cli {

// Where a text or a list of ids comes from: --prompt, --prompt-file or --tokens.
struct PromptFlags {
    std::optional<std::string> text;
    std::string text_file, token_file;
};

void add_prompt_flags(FlagList& list, PromptFlags& flags);

// A prompt as it was given, read before a model is opened so that a wrong file costs no time.
struct Prompt {
    std::optional<std::string> text;
    std::vector<TokenId> ids;  // where there is no text
};

// Throws UsageError unless exactly one source was given (none is right when `otherwise` has a text).
Prompt read_prompt(const PromptFlags& flags, const std::optional<std::string>& otherwise);

// The ids to evaluate. Throws: no tokenizer for a text, an empty prompt, one longer than the context holds.
std::vector<TokenId> prompt_ids(const Prompt& prompt, const Engine& engine);

// The engine's tokenizer; throws kUnsupported, naming the model, where it has none.
const Tokenizer& tokenizer_of(const Engine& engine);

}  // namespace sluice::cli
