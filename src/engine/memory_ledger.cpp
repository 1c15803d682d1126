#include "engine/memory_ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/size.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"

namespace sluice {

namespace {

constexpr int64_t kDefaultContext = 8192;
constexpr int64_t kSmallestContext = 1024;
// Of every session beside the first, where nothing else is said.
constexpr int64_t kTokensBeside = 512;
constexpr int64_t kSmallestChunk = 32;
// What a run is planned for: a long prompt and its answer, tokens.
constexpr int64_t kPlannedPrompt = 2048;
constexpr int64_t kPlannedAnswer = 256;
// What the process holds by then differs a little from verb to verb; a forecast allows for it.
constexpr uint64_t kProcessVaries = 256ull << 10;
// Evaluated prompts get this part of what experts could use, or all that experts cannot use: experts are wanted by
// every token, a prompt now and then. A few conversations are the most that one process needs.
constexpr uint64_t kPrefixPart = 32;
constexpr uint64_t kPrefixSessions = 4;

uint64_t megabytes(uint64_t bytes) {
    return round_up(bytes, 1 << 20);
}

// Sums and products of numbers that a person or a config.json gave: too large stays too large.
constexpr uint64_t kTooMuch = std::numeric_limits<uint64_t>::max() / 2;

uint64_t product(uint64_t a, uint64_t b) {
    uint64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? kTooMuch : std::min(result, kTooMuch);
}

uint64_t sum(std::initializer_list<uint64_t> parts) {
    uint64_t result = 0;
    for (const uint64_t part : parts) result = std::min(kTooMuch, result + std::min(part, kTooMuch));
    return result;
}

}  // namespace

uint64_t memory_ceiling(const EngineOptions& options, std::optional<uint64_t> cgroup_limit) {
    if (options.ram_bytes == 0) return default_memory_ceiling();
    if (!cgroup_limit || options.ram_bytes <= *cgroup_limit) return options.ram_bytes;
    const uint64_t allowed = *cgroup_limit - left_to_system(*cgroup_limit);
    log_warning("ram_bytes: {} are more than the {} that the process's cgroup may use; going on with {}",
                format_size(options.ram_bytes), format_size(*cgroup_limit), format_size(allowed));
    return allowed;
}

uint64_t card_ceiling(const EngineOptions& options, uint64_t free) {
    constexpr uint64_t kLeftPart = 16;
    const uint64_t allowed = free - free / kLeftPart;
    if (options.vram_bytes == 0) return allowed;
    if (options.vram_bytes > free) {
        log_warning("vram_bytes: {} are more than the {} that are free on the card; going on with {}",
                    format_size(options.vram_bytes), format_size(free), format_size(allowed));
    }
    return std::min(options.vram_bytes, allowed);
}

uint64_t beside_card_ceiling(const EngineOptions& options, std::optional<uint64_t> cgroup_limit) {
    const uint64_t ceiling = memory_ceiling(options, cgroup_limit);
    return options.ram_bytes != 0 ? ceiling : ceiling - ceiling / 4;
}

MemoryLedger::MemoryLedger(const EngineOptions& options, MemorySizes sizes, uint64_t ceiling, uint64_t host_ceiling)
    : options_(options),
      sizes_(std::move(sizes)),
      ceiling_(ceiling),
      host_ceiling_(host_ceiling),
      largest_context_(sizes_.largest_context > 0 ? sizes_.largest_context : kDefaultContext),
      context_(options.context != 0 ? options.context : std::min(largest_context_, kDefaultContext)) {
    // One session that will not hold more needs no larger context.
    if (options.context == 0 && options.sessions <= 1 && options.session_tokens > 0)
        context_ = std::min(context_, options.session_tokens);
    if (context_ < 1 || context_ > largest_context_) {
        fail(ErrorCode::kUsage, "`context` of {} tokens is out of range: this model takes 1 to {}", context_,
             largest_context_);
    }
}

uint64_t MemoryLedger::session_bytes(int64_t context) const {
    const uint64_t tokens = round_up(static_cast<uint64_t>(context), static_cast<uint64_t>(kKvPageTokens));
    return sum({product(tokens, sizes_.kv_per_token), sizes_.recurrent});
}

int64_t MemoryLedger::session_tokens(int64_t context) const {
    const bool alone = options_.sessions <= 1;
    if (options_.session_tokens > (alone ? context_ : 0)) return std::max(context, options_.session_tokens);
    if (alone) return context;
    return context + std::max(context, kTokensBeside * (options_.sessions - 1));
}

MemoryLedger::Room MemoryLedger::room(int64_t context) const {
    const int64_t tokens = session_tokens(context), sessions = std::max<int64_t>(1, options_.sessions);
    if (!sizes_.on_card) return {tokens, sessions};
    // A session goes on from a state that the cache of evaluated prompts keeps, too.
    return {std::max(tokens, kContextsOnCard * context), std::max(kStatesOnCard, 2 * sessions)};
}

uint64_t MemoryLedger::sessions_bytes(int64_t context) const {
    const Room all = room(context);
    const uint64_t tokens = round_up(static_cast<uint64_t>(all.tokens), static_cast<uint64_t>(kKvPageTokens));
    return sum({product(tokens, sizes_.kv_per_token), product(static_cast<uint64_t>(all.states), sizes_.recurrent)});
}

MemoryLedger::Shape MemoryLedger::shape(int64_t context, int64_t chunk) const {
    // A state passes through memory once more on its way to the folder of evaluated prompts and back.
    const uint64_t copy = options_.prefix_cache.empty() ? 0 : session_bytes(context);
    return {
        .context = context,
        .chunk = chunk,
        .fixed = sum({sizes_.trunk, sessions_bytes(context), copy, sizes_.scratch(chunk, context), sizes_.process})};
}

MemoryLedger::Shape MemoryLedger::least() const {
    const int64_t context = options_.context != 0 ? context_ : std::min(context_, kSmallestContext);
    const int64_t chunk = options_.chunk != 0 ? options_.chunk : std::min(context, kSmallestChunk);
    return shape(context, chunk);
}

MemoryLedger::Shape MemoryLedger::largest() const {
    return shape(context_, options_.chunk != 0 ? options_.chunk : std::min(context_, sizes_.largest_chunk));
}

// Of the planned prompt and answer. A part of a prompt needs as many experts as its tokens can name.
double MemoryLedger::expected_reads(const Shape& shape) const {
    const auto all = static_cast<double>(sizes_.experts_all);
    if (all == 0) return 0;
    const double cached = std::min(1.0, static_cast<double>(ceiling_ - shape.fixed) / all);
    const int64_t prompt = std::min(kPlannedPrompt, shape.context);
    const int64_t passes = (prompt + shape.chunk - 1) / shape.chunk;
    const double token = static_cast<double>(sizes_.experts_floor);
    const double pass = std::min(all, token * static_cast<double>(shape.chunk));
    const double answer = token * static_cast<double>(kPlannedAnswer);
    return (1 - cached) * (pass * static_cast<double>(passes) + answer);
}

std::optional<MemoryLedger::Shape> MemoryLedger::best_chunk(int64_t context) const {
    std::optional<Shape> best;
    double least_read = 0;
    for (int64_t chunk = options_.chunk != 0 ? options_.chunk : std::min(context, sizes_.largest_chunk);; chunk /= 2) {
        const Shape tried = shape(context, chunk);
        if (ceiling_ >= sum({tried.fixed, sizes_.experts_floor})) {
            const double read = expected_reads(tried);
            if (!best || read < least_read) {
                best = tried;
                least_read = read;
            }
        }
        if (options_.chunk != 0 || chunk <= kSmallestChunk) return best;
        if (chunk / 2 < kSmallestChunk) chunk = 2 * kSmallestChunk;
    }
}

std::optional<MemoryLedger::Shape> MemoryLedger::best() const {
    // What nobody asked for shrinks, the chunk before the context.
    for (int64_t context = context_;; context = std::max(kSmallestContext, context / 2)) {
        const std::optional<Shape> found = best_chunk(context);
        if (found || options_.context != 0 || context <= kSmallestContext) return found;
    }
}

// For evaluated prompts, of the `spare` bytes beyond the floor of which experts could use `experts`.
uint64_t MemoryLedger::prefix_share(uint64_t spare, uint64_t experts, uint64_t session) const {
    if (!options_.prefix_memory_bytes)
        return std::min(kPrefixSessions * session, std::max(spare - experts, spare / kPrefixPart));
    if (*options_.prefix_memory_bytes > spare) {
        fail(ErrorCode::kOutOfMemory,
             "{} of memory for evaluated prompts are too much: {} are left beside what the model needs; give "
             "a smaller `prefix_memory_bytes` or a larger `ram_bytes`",
             format_size(*options_.prefix_memory_bytes), format_size(spare));
    }
    return *options_.prefix_memory_bytes;
}

void MemoryLedger::refuse(const Shape& shape) const {
    const uint64_t floor = sum({shape.fixed, sizes_.experts_floor});
    const std::string_view name = sizes_.on_card ? "vram_bytes" : "ram_bytes";
    fail(ErrorCode::kOutOfMemory,
         "{} of memory {}: the trunk takes {}, the context {}, scratch {}, the experts of one token {}; "
         "`{}` {}M would do",
         format_size(ceiling_),
         (sizes_.on_card ? options_.vram_bytes : options_.ram_bytes) != 0 ? fmt::format("(`{}`) is too little", name)
                                                                          : "is free, too little",
         format_size(sizes_.trunk), format_size(sessions_bytes(shape.context)),
         format_size(shape.fixed - sizes_.trunk - sessions_bytes(shape.context)), format_size(sizes_.experts_floor),
         name, megabytes(floor) >> 20);
}

// What comes to the card by way of the host's memory stays there as long as it has room.
uint64_t MemoryLedger::host_share(uint64_t cache_bytes) const {
    if (cache_bytes >= sizes_.experts_all) return 0;
    return std::min(sizes_.experts_all, host_ceiling_ - std::min(host_ceiling_, sizes_.beside_card));
}

MemoryPlan MemoryLedger::plan_of(const Shape& shape) const {
    const uint64_t spare = ceiling_ - shape.fixed - sizes_.experts_floor;
    const uint64_t useful = std::min(spare, sizes_.experts_all - std::min(sizes_.experts_all, sizes_.experts_floor));
    MemoryPlan plan{.ram_bytes = ceiling_,
                    .context = shape.context,
                    .session_tokens = session_tokens(shape.context),
                    .largest_context = largest_context_,
                    .chunk = shape.chunk};
    plan.prefix_bytes = prefix_share(spare, useful, session_bytes(shape.context));
    plan.cache_bytes = sizes_.experts_floor + std::min(useful, spare - plan.prefix_bytes);
    plan.host_bytes = host_share(plan.cache_bytes);
    if (!sizes_.on_card) return plan;
    const Room all = room(shape.context);
    plan.card_tokens = all.tokens;
    plan.card_states = all.states;
    if (sizes_.recurrent == 0) return plan;
    const uint64_t left = spare - plan.prefix_bytes - (plan.cache_bytes - sizes_.experts_floor);
    const int64_t wanted = std::max(all.states, kMostStatesOnCard) - all.states;
    plan.card_states += static_cast<int64_t>(std::min(static_cast<uint64_t>(wanted), left / sizes_.recurrent));
    return plan;
}

MemoryPlan MemoryLedger::divide() const {
    const std::optional<Shape> shape = best();
    if (!shape) refuse(least());
    return plan_of(*shape);
}

MemoryOutlook MemoryLedger::foresee() const {
    const uint64_t prefixes = options_.prefix_memory_bytes.value_or(0);
    const Shape smallest = least();
    MemoryOutlook outlook;
    outlook.ram_bytes = ceiling_;
    outlook.full_bytes = megabytes(sum({largest().fixed, sizes_.experts_all, prefixes, kProcessVaries}));
    outlook.least_bytes = megabytes(sum({smallest.fixed, sizes_.experts_floor, prefixes, kProcessVaries}));
    outlook.runs = ceiling_ >= outlook.least_bytes;
    Shape shape = smallest;
    if (outlook.runs) {
        shape = best().value_or(smallest);
        const MemoryPlan plan = plan_of(shape);
        outlook.cache_bytes = plan.cache_bytes;
        outlook.host_bytes = plan.host_bytes;
    }
    outlook.context = shape.context;
    outlook.chunk = shape.chunk;
    return outlook;
}

}  // namespace sluice
