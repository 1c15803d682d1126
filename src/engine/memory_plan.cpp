#include "engine/memory_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "engine/pass_plan.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"

namespace sluice {

namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kLargestChunk = 2048;
constexpr int64_t kSmallestChunk = 32;
constexpr int64_t kSmallestContext = 1024;
// Beyond the ledger: the program's own pages and its libraries' (about 10 MB are touched), allocator slack, read
// buffers, page tables.
constexpr uint64_t kSlackBytes = 36ull << 20;
// What the process holds by then differs a little from verb to verb; a forecast allows for it.
constexpr uint64_t kProcessVaries = 256ull << 10;
// Evaluated prompts get this part of what experts could use, or all that experts cannot use: experts are wanted by
// every token, a prompt now and then. A few conversations are the most that one process needs.
constexpr uint64_t kPrefixPart = 32;
constexpr uint64_t kPrefixSessions = 4;

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

int64_t checked_context(const EngineOptions& options, int64_t limit) {
    if (options.context == 0) return std::min(limit, kDefaultContext);
    if (options.context < 1 || options.context > limit) {
        fail(ErrorCode::kUsage, "`context` of {} tokens is out of range: this model takes 1 to {}", options.context,
             limit);
    }
    return options.context;
}

// For evaluated prompts, of the `spare` bytes beyond the floor of which experts could use `experts`.
uint64_t prefix_share(const EngineOptions& options, uint64_t spare, uint64_t experts, uint64_t session) {
    if (!options.prefix_memory_bytes) {
        return std::min(kPrefixSessions * session, std::max(spare - experts, spare / kPrefixPart));
    }
    if (*options.prefix_memory_bytes > spare) {
        fail(ErrorCode::kOutOfMemory,
             "{} of memory for evaluated prompts are too much: {} are left beside what the model needs; give "
             "a smaller `prefix_memory_bytes` or a larger `ram_bytes`",
             format_size(*options.prefix_memory_bytes), format_size(spare));
    }
    return *options.prefix_memory_bytes;
}

// What the options ask for, before it is cut down to a ceiling.
MemoryPlan wanted_plan(const EngineOptions& options, const Checkpoint& checkpoint) {
    MemoryPlan plan;
    const int64_t positions = checkpoint.config().max_positions;
    plan.largest_context = positions > 0 ? positions : kDefaultContext;
    plan.context = checked_context(options, plan.largest_context);
    plan.chunk = options.chunk > 0 ? options.chunk : std::min(kLargestChunk, plan.context);
    plan.ram_bytes = options.ram_bytes != 0 ? options.ram_bytes : default_memory_ceiling();
    return plan;
}

// What a model needs by a plan's context and chunk.
class Needs {
  public:
    Needs(const EngineOptions& options, const Checkpoint& checkpoint, const Model& model)
        : options_(options),
          model_(model),
          process_bytes_(private_resident_bytes() + kSlackBytes),
          trunk_(checkpoint.trunk_bytes()),
          experts_floor_(ExpertStore::floor_bytes(checkpoint)),
          experts_all_(ExpertStore::full_bytes(checkpoint)) {}

    MemoryNeeds of(const MemoryPlan& plan) const {
        return {.trunk = trunk_,
                .kv = session_bytes(model_, plan.context),
                .scratch = model_.scratch_bytes(pass_rows(plan.chunk)) + process_bytes_,
                .experts_floor = experts_floor_,
                .experts_all = experts_all_};
    }

    // Unless they were asked for, chunk and context shrink before the cache does.
    void shrink(MemoryPlan& plan) const {
        const auto beyond_fixed = [&] { return plan.ram_bytes - std::min(plan.ram_bytes, of(plan).fixed()); };
        const uint64_t comfortable = std::min(experts_all_, experts_floor_ + plan.ram_bytes / 3);
        while (options_.chunk == 0 && plan.chunk > kSmallestChunk && beyond_fixed() < comfortable) plan.chunk /= 2;
        while (options_.context == 0 && plan.context > kSmallestContext && beyond_fixed() < experts_floor_)
            plan.context /= 2;
    }

  private:
    const EngineOptions& options_;
    const Model& model_;
    uint64_t process_bytes_, trunk_, experts_floor_, experts_all_;
};

// The plan's ceiling, divided.
void divide(MemoryPlan& plan, const MemoryNeeds& needs, const EngineOptions& options) {
    const uint64_t cache_bytes = plan_memory(needs, plan.ram_bytes).cache_bytes;
    const uint64_t spare = plan.ram_bytes - needs.floor();
    plan.prefix_bytes = prefix_share(options, spare, cache_bytes - needs.experts_floor, needs.kv);
    plan.cache_bytes = std::min(cache_bytes, needs.experts_floor + spare - plan.prefix_bytes);
}

}  // namespace

MemoryPlan plan_engine_memory(const EngineOptions& options, const Checkpoint& checkpoint, const Model& model) {
    MemoryPlan plan = wanted_plan(options, checkpoint);
    const Needs needs(options, checkpoint, model);
    needs.shrink(plan);
    divide(plan, needs.of(plan), options);
    return plan;
}

MemoryOutlook foresee_engine_memory(const EngineOptions& options, const Checkpoint& checkpoint, const Model& model) {
    const Needs needs(options, checkpoint, model);
    const uint64_t prefixes = options.prefix_memory_bytes.value_or(0);
    const auto megabytes = [](uint64_t bytes) { return round_up(bytes, 1 << 20); };
    MemoryPlan plan = wanted_plan(options, checkpoint);
    MemoryOutlook outlook;
    outlook.ram_bytes = plan.ram_bytes;
    const MemoryNeeds wanted = needs.of(plan);
    outlook.full_bytes = megabytes(wanted.fixed() + wanted.experts_all + prefixes + kProcessVaries);
    MemoryPlan least = plan;
    least.ram_bytes = 0;
    needs.shrink(least);
    outlook.least_bytes = megabytes(needs.of(least).floor() + prefixes + kProcessVaries);
    outlook.runs = plan.ram_bytes >= outlook.least_bytes;
    if (outlook.runs) {
        needs.shrink(plan);
        divide(plan, needs.of(plan), options);
        outlook.cache_bytes = plan.cache_bytes;
    } else {
        plan = least;
    }
    outlook.context = plan.context;
    outlook.chunk = plan.chunk;
    return outlook;
}

}  // namespace sluice
