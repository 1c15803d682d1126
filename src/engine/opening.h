#pragma once

// What every process that runs a model or a part of it opens.

#include <memory>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"
#include "sluice/options.h"

namespace sluice {

// Whether the model is to lie on a card.
bool names_card(const EngineOptions& options);
std::unique_ptr<Backend> make_backend(const EngineOptions& options);

// How experts are read into a cache of so many bytes.
ExpertStoreOptions store_options(const EngineOptions& options, const Checkpoint& checkpoint, const Backend& backend,
                                 uint64_t cache_bytes);

// What a governor may take from the store, and give back.
MemoryGovernor::Cache governed(ExpertStore& store, const Checkpoint& checkpoint);

}  // namespace sluice
