#include "experts/expert_catalogue.h"

#include <algorithm>
#include <set>

#include "base/memory.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/expert_share.h"

namespace sluice {

ExpertCatalogue ExpertCatalogue::of(std::shared_ptr<const Checkpoint> checkpoint,
                                    const std::function<bool(const WeightFormat&)>& in_tiles) {
    const ModelConfig& config = checkpoint->config();
    ExpertCatalogue catalogue;
    for (const CheckpointFile& file : checkpoint->files()) catalogue.files.push_back(file.path);
    catalogue.experts = static_cast<int>(config.experts());
    catalogue.experts_per_token = static_cast<int>(config.experts_per_token());
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const bool moe = config.mixture_of(layer) != nullptr;
        const ExpertLayout stored = moe ? checkpoint->expert_layout(layer) : ExpertLayout{};
        const ExpertLayout held = tiled_layout(stored, in_tiles);
        catalogue.record_bytes.push_back(round_up(stored.record_bytes, kPageBytes));
        catalogue.layouts.push_back(held);
        std::optional<uint64_t> scratch = moe ? checkpoint->arrangement_scratch(layer) : std::nullopt;
        if (const uint64_t turning = turn_scratch_bytes(stored, held); turning > 0) {
            scratch = std::max(scratch.value_or(0), turning);
        }
        catalogue.arrangement_bytes.push_back(scratch);
    }
    catalogue.reads = [checkpoint](int layer, int expert) { return checkpoint->expert_reads(layer, expert); };
    catalogue.arrange = [checkpoint, held = catalogue.layouts](int layer, std::span<std::byte> slot,
                                                               std::span<std::byte> scratch) {
        checkpoint->arrange_expert(layer, slot, scratch);
        turn_expert(checkpoint->expert_layout(layer), held[static_cast<size_t>(layer)], slot, scratch);
    };
    if (!checkpoint->share().whole()) {
        catalogue.held = [checkpoint](int layer, int expert) { return checkpoint->holds(layer, expert); };
    }
    catalogue.checksum = [checkpoint](int layer, int expert) { return checkpoint->expert_checksum(layer, expert); };
    return catalogue;
}

int ExpertCatalogue::held_experts(int layer) const {
    if (!held) return experts;
    int count = 0;
    for (int expert = 0; expert < experts; ++expert) count += held(layer, expert) ? 1 : 0;
    return count;
}

uint64_t ExpertCatalogue::all_bytes() const {
    uint64_t bytes = 0;
    for (size_t layer = 0; layer < record_bytes.size(); ++layer) {
        bytes += record_bytes[layer] * static_cast<uint64_t>(held_experts(static_cast<int>(layer)));
    }
    return bytes;
}

uint64_t ExpertCatalogue::floor_bytes() const {
    uint64_t bytes = 0;
    for (const uint64_t size : record_sizes()) bytes += size * static_cast<uint64_t>(experts_per_token);
    return bytes;
}

uint64_t ExpertCatalogue::arrangement_scratch() const {
    uint64_t most = 0;
    for (const std::optional<uint64_t>& bytes : arrangement_bytes) most = std::max(most, bytes.value_or(0));
    return most;
}

std::vector<uint64_t> ExpertCatalogue::record_sizes() const {
    std::set<uint64_t> sizes(record_bytes.begin(), record_bytes.end());
    sizes.erase(0);
    return {sizes.begin(), sizes.end()};
}

}  // namespace sluice
