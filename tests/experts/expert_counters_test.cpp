#include "sluice/expert_counters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace sluice {
namespace {

// Every word but the last, which is the double.
constexpr size_t kWords = sizeof(sluice_expert_counters) / sizeof(uint64_t);
static_assert(sizeof(sluice_expert_counters) == offsetof(sluice_expert_counters, stall_seconds) + sizeof(double));

ExpertCounters numbered(uint64_t factor) {
    std::array<uint64_t, kWords> words{};
    for (size_t i = 0; i < kWords; ++i) words[i] = factor * (i + 1);
    ExpertCounters counters;
    static_cast<sluice_expert_counters&>(counters) = std::bit_cast<sluice_expert_counters>(words);
    counters.stall_seconds = static_cast<double>(factor);
    return counters;
}

TEST(ExpertCounters, BeginAtZero) {
    const auto words =
        std::bit_cast<std::array<uint64_t, kWords>>(static_cast<sluice_expert_counters>(ExpertCounters()));
    EXPECT_TRUE(std::ranges::all_of(words, [](uint64_t word) { return word == 0; }));
}

// A field that the difference forgets keeps what it was.
TEST(ExpertCounters, TheDifferenceCoversEveryField) {
    const ExpertCounters difference = numbered(10) - numbered(7);
    const auto words = std::bit_cast<std::array<uint64_t, kWords>>(static_cast<sluice_expert_counters>(difference));
    for (size_t i = 0; i + 1 < kWords; ++i) EXPECT_EQ(words[i], 3 * (i + 1)) << "word " << i;
    EXPECT_EQ(difference.stall_seconds, 3.0);
}

TEST(ExpertCounters, TheSumCoversEveryField) {
    const ExpertCounters sum = numbered(10) + numbered(7);
    const auto words = std::bit_cast<std::array<uint64_t, kWords>>(static_cast<sluice_expert_counters>(sum));
    for (size_t i = 0; i + 1 < kWords; ++i) EXPECT_EQ(words[i], 17 * (i + 1)) << "word " << i;
    EXPECT_EQ(sum.stall_seconds, 17.0);
}

}  // namespace
}  // namespace sluice
