#pragma once

#include <functional>

#include "sluice/engine.h"

namespace sluice {

struct GenerationCallbacks {
    TokenCallback on_token;
    ProgressCallback progress;
    std::function<void()> after_prompt;  // the session holds the whole prompt and nothing more
};

// Evaluates `prompt` after what the session holds, then generates.
GenerationResult generate_from(Engine& engine, Session& session, std::span<const TokenId> prompt,
                               const GenerationOptions& options, const GenerationCallbacks& callbacks);

}  // namespace sluice
