#pragma once

#include <functional>
#include <vector>

#include "sluice/engine.h"

namespace sluice {

struct GenerationCallbacks {
    TokenCallback on_token;
    ProgressCallback progress;
    // Called when the session holds so many tokens of the prompt and nothing more; ascending.
    std::vector<size_t> stops;
    std::function<void(size_t stop)> at_stop;
};

// Evaluates `prompt` after what the session holds, then generates.
GenerationResult generate_from(Engine& engine, Session& session, std::span<const TokenId> prompt,
                               const GenerationOptions& options, const GenerationCallbacks& callbacks);

}  // namespace sluice
