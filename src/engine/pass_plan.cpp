#include "engine/pass_plan.h"

#include <algorithm>
#include <limits>

namespace sluice {

namespace {

constexpr int64_t kDecodedBesideAChunk = 16;

}  // namespace

int64_t pass_rows(int64_t chunk) {
    return std::min(chunk, std::numeric_limits<int64_t>::max() - kDecodedBesideAChunk) + kDecodedBesideAChunk;
}

std::vector<size_t> choose_for_pass(std::span<const PassCandidate> candidates, int64_t room) {
    std::vector<size_t> waiting;
    for (size_t i = 0; i < candidates.size(); ++i) {
        if (candidates[i].rows > 0) waiting.push_back(i);
    }
    std::ranges::stable_sort(waiting, {}, [&](size_t i) { return candidates[i].last_pass; });
    std::vector<size_t> taken;
    for (const size_t i : waiting) {
        if (!taken.empty() && candidates[i].rows > room) continue;
        room -= std::min(room, candidates[i].rows);
        taken.push_back(i);
    }
    std::ranges::sort(taken);
    return taken;
}

}  // namespace sluice
