#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "model/model.h"
#include "sluice/engine.h"
#include "sluice/model_report.h"

namespace sluice {

// A card's memory for sequences is taken when the engine opens: at least so many whole contexts and recurrent states,
// and up to kMostStatesOnCard where all experts have room, too.
inline constexpr int64_t kContextsOnCard = 4, kStatesOnCard = 32, kMostStatesOnCard = 160;

// What of a model takes memory; bytes but where tokens are said. Of a checkpoint on disk they are exact; of a
// config.json alone scratch is an estimate from the widths it names.
struct MemorySizes {
    uint64_t trunk = 0;
    uint64_t kv_per_token = 0, recurrent = 0;  // of a session
    uint64_t experts_floor = 0;                // the least cache: the experts of one token
    uint64_t experts_all = 0;                  // the cache never gets more
    uint64_t process = 0;          // the program, its libraries, what it has read so far, where experts are arranged
    int64_t largest_context = 0;   // tokens that the model takes; 0: it does not say
    int64_t largest_chunk = 2048;  // of a prompt that is worth its scratch
    bool on_card = false;          // it all lies in the memory of a device, but for:
    uint64_t beside_card = 0;      // what the process takes of the host's memory
    // Of a pass over `chunk` tokens of a session of `context` tokens.
    std::function<uint64_t(int64_t chunk, int64_t context)> scratch;
};
MemorySizes memory_sizes(const Checkpoint& checkpoint, const Model& model, const Backend& backend);
// `card`: it would lie in the memory of one.
MemorySizes memory_sizes(const ModelReport& report, const EngineOptions& options, bool card = false);
// Of who only computes experts for others, in passes of so many rows.
MemorySizes worker_memory_sizes(const Checkpoint& checkpoint, int64_t pass_rows);
// Of who leads others.
void add_messages(MemorySizes& sizes, const ModelConfig& config);

// How the ceiling is divided. All but cache and prefixes is needed in full; they take what is left.
struct MemoryPlan {
    uint64_t ram_bytes = 0;     // the ceiling
    uint64_t cache_bytes = 0;   // expert slots
    uint64_t host_bytes = 0;    // expert slots in the host's memory, below those of a card
    uint64_t prefix_bytes = 0;  // evaluated prompts
    int64_t context = 0;
    int64_t session_tokens = 0;  // that all sessions hold together
    int64_t card_tokens = 0;     // what a card has memory for: tokens in caches, and recurrent states
    int64_t card_states = 0;
    int64_t largest_context = 0;  // that the model takes
    int64_t chunk = 0;
};

// The ceiling that the options ask for, or what is free. One above the limit of the process's cgroup is taken down to
// what that leaves, with a warning: the kernel would end the process.
uint64_t memory_ceiling(const EngineOptions& options, std::optional<uint64_t> cgroup_limit);

// The same for the memory of a card, of which `free` bytes were free. What operations take beside the ledger is left.
uint64_t card_ceiling(const EngineOptions& options, uint64_t free);

// The ceiling for what a process takes of the host's memory beside a card. Most of it is held in place, which no
// pressure can take back at once: where nobody names it, a quarter of what is free stays free.
uint64_t beside_card_ceiling(const EngineOptions& options, std::optional<uint64_t> cgroup_limit);

// The one place where memory is divided: opening an engine, foreseeing it and planning from a config.json alone.
class MemoryLedger {
  public:
    // `host_ceiling`: of the host's memory, where `ceiling` is that of a card. Throws kUsage for a context that the
    // model does not take.
    MemoryLedger(const EngineOptions& options, MemorySizes sizes, uint64_t ceiling, uint64_t host_ceiling = 0);

    // Throws kOutOfMemory with the `ram_bytes` that would do.
    MemoryPlan divide() const;
    // The same as a forecast: too little does not throw.
    MemoryOutlook foresee() const;

  private:
    // Context and chunk, and what both need beside the cache.
    struct Shape {
        int64_t context = 0, chunk = 0;
        uint64_t fixed = 0;
    };

    // What all that live at the same time have memory for.
    struct Room {
        int64_t tokens = 0, states = 0;
    };

    uint64_t session_bytes(int64_t context) const;
    Room room(int64_t context) const;
    int64_t session_tokens(int64_t context) const;
    uint64_t sessions_bytes(int64_t context) const;  // of all that live at the same time
    Shape shape(int64_t context, int64_t chunk) const;
    Shape least() const;
    Shape largest() const;
    // Nothing where no context and chunk that the options allow fit the ceiling.
    std::optional<Shape> best() const;
    std::optional<Shape> best_chunk(int64_t context) const;
    double expected_reads(const Shape& shape) const;
    uint64_t prefix_share(uint64_t spare, uint64_t experts, uint64_t session) const;
    uint64_t host_share(uint64_t cache_bytes) const;
    MemoryPlan plan_of(const Shape& shape) const;
    [[noreturn]] void refuse(const Shape& shape) const;

    const EngineOptions& options_;
    MemorySizes sizes_;
    uint64_t ceiling_, host_ceiling_;
    int64_t largest_context_, context_;
};

}  // namespace sluice
