#include "engine/memory_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"

namespace sluice {

namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kLargestChunk = 2048;
constexpr int64_t kSmallestChunk = 32;
constexpr int64_t kSmallestContext = 1024;
// Beyond the ledger: allocator slack, read buffers, page tables.
constexpr uint64_t kSlackBytes = 24ull << 20;

uint64_t kv_bytes_per_token(const Model& model) {
    uint64_t bytes = 0;
    for (const StateSpec& spec : model.state_specs()) bytes += spec.kv_bytes_per_token;
    return bytes;
}

uint64_t recurrent_bytes(const Model& model) {
    uint64_t bytes = 0;
    for (const StateSpec& spec : model.state_specs()) bytes += spec.recurrent_bytes();
    return bytes;
}

uint64_t session_bytes(const Model& model, int64_t context) {
    const uint64_t tokens = round_up(static_cast<uint64_t>(context), static_cast<uint64_t>(kKvPageTokens));
    return tokens * kv_bytes_per_token(model) + recurrent_bytes(model);
}

int64_t checked_context(const EngineOptions& options, const ModelConfig& config) {
    const int64_t limit = config.max_positions > 0 ? config.max_positions : kDefaultContext;
    if (options.context == 0) return std::min(limit, kDefaultContext);
    if (options.context < 1 || options.context > limit) {
        fail(ErrorCode::kUsage, "--context {} is out of range: this model takes 1 to {} tokens",
             options.context, limit);
    }
    return options.context;
}

}  // namespace

MemoryPlan plan_engine_memory(const EngineOptions& options, const Checkpoint& checkpoint,
                              const Model& model) {
    MemoryPlan plan;
    plan.context = checked_context(options, checkpoint.config());
    plan.chunk = options.chunk > 0 ? options.chunk : std::min(kLargestChunk, plan.context);
    plan.ram_bytes = options.ram_bytes != 0 ? options.ram_bytes : default_memory_ceiling();
    const uint64_t process_bytes = resident_bytes() + kSlackBytes;
    const auto needs = [&] {
        return MemoryNeeds{.trunk = checkpoint.trunk_bytes(),
                           .kv = session_bytes(model, plan.context),
                           .scratch = model.scratch_bytes(plan.chunk) + process_bytes,
                           .experts_floor = ExpertStore::floor_bytes(checkpoint),
                           .experts_all = ExpertStore::full_bytes(checkpoint)};
    };
    // Unless they were asked for, chunk and context shrink before the cache does.
    const auto spare = [&] { return plan.ram_bytes - std::min(plan.ram_bytes, needs().fixed()); };
    const uint64_t comfortable =
        std::min(ExpertStore::full_bytes(checkpoint), needs().experts_floor + plan.ram_bytes / 3);
    while (options.chunk == 0 && plan.chunk > kSmallestChunk && spare() < comfortable) plan.chunk /= 2;
    while (options.context == 0 && plan.context > kSmallestContext && spare() < needs().experts_floor)
        plan.context /= 2;
    plan.cache_bytes = plan_memory(needs(), plan.ram_bytes).cache_bytes;
    return plan;
}

}  // namespace sluice
