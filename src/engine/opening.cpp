#include "engine/opening.h"

#include "backend/cuda_backend.h"
#include "sluice/cards.h"

namespace sluice {

namespace {

// Whether experts lie on the drive as the kernels read them soonest.
bool stored_in_tiles(const Checkpoint& checkpoint) {
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        if (checkpoint.config().mixture_of(layer) != nullptr && checkpoint.expert_layout(layer).up.tiled) return true;
    }
    return false;
}

}  // namespace

bool names_card(const EngineOptions& options) {
    return options.device.starts_with("cuda") || (options.device == "auto" && !cards().empty());
}

std::unique_ptr<Backend> make_backend(const EngineOptions& options) {
    if (options.device == "reference") return make_reference_backend();
    if (names_card(options)) {
        const auto card = static_cast<int>(card_number(options.device).value_or(0));
        return make_cuda_backend({.device = card, .exact = options.exact});
    }
    return make_cpu_backend({.threads = options.threads,
                             .pin_threads = options.pin_threads,
                             .exact = options.exact,
                             .instruction_set = options.instruction_set});
}

ExpertStoreOptions store_options(const EngineOptions& options, const Checkpoint& checkpoint, const Backend& backend,
                                 uint64_t cache_bytes) {
    ExpertStoreOptions how;
    how.reader = options.io;
    how.direct_io = options.direct_io;
    how.look_ahead = options.look_ahead;
    how.cache_bytes = cache_bytes;
    // Putting an expert in tiles costs what some ten tokens gain by it: more than it is used before it is evicted.
    if (stored_in_tiles(checkpoint) || cache_bytes >= ExpertStore::full_bytes(checkpoint)) {
        how.in_tiles = [&backend](const WeightFormat& format) { return backend.reads_tiles(format); };
    }
    return how;
}

MemoryGovernor::Cache governed(ExpertStore& store, const Checkpoint& checkpoint) {
    return {.bytes = [&store] { return store.cache_bytes(); },
            .resize = [&store](uint64_t bytes) { store.resize(bytes); },
            .full = store.cache_bytes(),
            .floor = ExpertStore::floor_bytes(checkpoint)};
}

}  // namespace sluice
