#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "engine/prefix_cache.h"
#include "engine/session_impl.h"
#include "engine/warm_start.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"
#include "experts/routing_trace.h"
#include "model/model.h"
#include "sluice/engine.h"

namespace sluice {

// Destroyed from the bottom up: the model's memory goes before the backend that gave it.
struct Engine::Impl {
    EngineOptions options;
    EngineInfo info;
    GenerationDefaults defaults;
    std::shared_ptr<const Checkpoint> checkpoint;
    std::unique_ptr<Backend> backend;
    TimeProfile profile;  // filled with EngineOptions::profile
    std::unique_ptr<ExpertStore> store;
    std::optional<WarmStart> warm_start;  // with EngineOptions::warm_start
    std::optional<RoutingTrace> trace;
    std::unique_ptr<Model> model;
    std::optional<Tokenizer> tokenizer;
    mutable std::mutex template_mutex;
    mutable std::optional<ChatTemplate> chat_template;
    mutable std::mutex mutex;                 // held by whoever uses the model or a session's state
    std::optional<PrefixCache> prefix_cache;  // never empty once open
    uint64_t tokens_evaluated = 0;
    std::optional<MemoryGovernor> governor;  // of the store's size; last, since it works on its own

    // Where its experts come from. Tests give stores whose reads fail.
    using MakeStore = std::function<std::unique_ptr<ExpertStore>(
        const std::shared_ptr<const Checkpoint>&, const ExpertStoreOptions&, const ExpertStore::MakeSlots&)>;
    static std::unique_ptr<Engine> open(const std::filesystem::path& model, const EngineOptions& options,
                                        const MakeStore& make_store);

    // All that an engine has before its memory is divided: no session, no expert.
    static std::unique_ptr<Impl> load(const std::filesystem::path& model, const EngineOptions& options);

    // All below with the mutex held.
    std::vector<SequenceOutput> evaluate(std::span<const SequenceInput> batch, const ProgressCallback& progress);
    void catch_up(Session::Impl& session, const ProgressCallback& progress);

  private:
    struct Pending;
    void check(const SequenceInput& input) const;
    void step(std::vector<Pending>& pending, std::vector<SequenceOutput>& outputs);
    void check_finite(const std::vector<float>& logits) const;
};

}  // namespace sluice
