#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "model/model.h"
#include "sluice/engine.h"

namespace sluice {

// How the memory ceiling is divided. All but cache and prefixes is needed in full; they take what is left.
struct MemoryPlan {
    uint64_t ram_bytes = 0;     // the ceiling
    uint64_t cache_bytes = 0;   // expert slots
    uint64_t prefix_bytes = 0;  // evaluated prompts
    int64_t context = 0;
    int64_t largest_context = 0;  // that the model takes
    int64_t chunk = 0;
};

// Chooses context, chunk and cache for the ceiling the options give, or for the memory that is free. Throws
// kOutOfMemory with the --ram that would do.
MemoryPlan plan_engine_memory(const EngineOptions& options, const Checkpoint& checkpoint, const Model& model);

// The same as a forecast: what is too little does not throw.
MemoryOutlook foresee_engine_memory(const EngineOptions& options, const Checkpoint& checkpoint, const Model& model);

}  // namespace sluice
