#include "experts/cache_simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

// Tokens that reuse some of their last experts and otherwise draw from a skewed, slowly drifting popularity.
RoutingTrace random_trace(int layers, int experts, int top_k, int tokens, unsigned seed, int prefill = 0) {
    std::mt19937 random(seed);
    RoutingTrace trace(layers, experts, top_k);
    std::vector<std::vector<int32_t>> last(static_cast<size_t>(layers));
    std::vector<std::vector<double>> popularity(static_cast<size_t>(layers));
    for (auto& weights : popularity) {
        for (int expert = 0; expert < experts; ++expert) weights.push_back(1.0 / (1.0 + expert % 17));
        std::shuffle(weights.begin(), weights.end(), random);
    }
    int32_t position = 0;
    const auto choose = [&](size_t layer) {
        std::discrete_distribution<int> popular(popularity[layer].begin(), popularity[layer].end());
        std::vector<int32_t> ids;
        for (const int32_t id : last[layer]) {
            if (random() % 100 < 35) ids.push_back(id);
        }
        while (ids.size() < static_cast<size_t>(top_k)) {
            const auto id = static_cast<int32_t>(popular(random));
            if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
        }
        last[layer] = ids;
        return ids;
    };
    for (int pass = 0; pass < tokens; ++pass) {
        const int rows = pass == tokens / 2 ? std::max(prefill, 1) : 1;
        for (int layer = 0; layer < layers; ++layer) {
            std::vector<int32_t> ids, positions;
            for (int row = 0; row < rows; ++row) {
                const auto chosen = choose(static_cast<size_t>(layer));
                ids.insert(ids.end(), chosen.begin(), chosen.end());
                positions.push_back(position + row);
            }
            trace.append(layer, ids, positions);
        }
        position += rows;
    }
    return trace;
}

// The trace through a live store, batch by batch.
ExpertCounters replay_live(const RoutingTrace& trace, const FileModel& model, EvictionPolicy policy, uint64_t slots) {
    ExpertStoreOptions options;
    options.cache_bytes = model.bytes_of(slots);
    options.policy = policy;
    options.reader = ReaderKind::kPread;
    options.read_threads = 2;
    ExpertStore store(model.catalogue(), options, make_host_slots);
    for (int64_t step = 0; step < trace.steps();) {
        std::vector<int> ids;
        std::vector<int32_t> choices;
        const int64_t first = step;
        for (; step < trace.steps() && trace.batch(step) == trace.batch(first); ++step) {
            choices.insert(choices.end(), trace.chosen(step).begin(), trace.chosen(step).end());
            for (const int32_t id : trace.chosen(step)) {
                if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
            }
        }
        ExpertStream stream = store.stream(trace.layer(first), ids, ExpertUse::kAuto, choices);
        drain(stream);
    }
    return store.counters();
}

TEST(CacheSimulator, AgreesWithTheLiveCache) {
    const FileModel model({.record_bytes = {4096, 4096, 4096, 4096}, .experts = 24, .top_k = 4});
    for (const uint64_t slots : {6, 20, 48}) {
        for (unsigned seed = 0; seed < 2; ++seed) {
            const RoutingTrace trace = random_trace(4, 24, 4, 150, seed);
            for (const auto policy : kAllPolicies) {
                const SimulatedCache simulated = simulate_cache(trace, policy, slots);
                const ExpertCounters live = replay_live(trace, model, policy, slots);
                EXPECT_EQ(simulated.hits, live.hits) << simulated.policy << " " << slots << " " << seed;
                EXPECT_EQ(simulated.misses, live.misses) << simulated.policy << " " << slots << " " << seed;
            }
        }
    }
}

TEST(CacheSimulator, AgreesOnBatchesOfManyTokens) {
    // A prefill that touches most experts (a scan) in the middle, in a cache that can hold each batch's window.
    const FileModel model({.record_bytes = {4096, 4096, 4096}, .experts = 24, .top_k = 2});
    const RoutingTrace trace = random_trace(3, 24, 2, 100, 9, 40);
    for (const auto policy : kAllPolicies) {
        const SimulatedCache simulated = simulate_cache(trace, policy, 72);
        const ExpertCounters live = replay_live(trace, model, policy, 72);
        EXPECT_EQ(simulated.hits, live.hits) << simulated.policy;
        EXPECT_EQ(simulated.misses, live.misses) << simulated.policy;
    }
}

TEST(CacheSimulator, HandWorkedLruAndOptimum) {
    // One layer, one expert per token, two slots.
    RoutingTrace trace(1, 4, 1);
    for (const int32_t id : {0, 1, 2, 0, 1, 2, 0, 1}) {
        const int32_t position = 0;
        trace.append(0, {&id, 1}, {&position, 1});
    }
    const SimulatedCache lru = simulate_cache(trace, EvictionPolicy::kLru, 2);
    EXPECT_EQ(lru.hits, 0u);  // a circle one longer than the cache
    EXPECT_EQ(lru.misses, 8u);
    // 0 1 [2 for 1] 0+ [1 for 0] 2+ [0 for 2] 1+
    const SimulatedCache best = simulate_optimum(trace, 2);
    EXPECT_EQ(best.hits, 3u);
    EXPECT_EQ(best.misses, 5u);
}

// The optimum by trying every choice, on traces short enough for it.
uint64_t fewest_misses(const std::vector<int>& asked, size_t at, std::vector<int> cached, size_t slots) {
    if (at == asked.size()) return 0;
    const auto found = std::find(cached.begin(), cached.end(), asked[at]);
    if (found != cached.end()) return fewest_misses(asked, at + 1, cached, slots);
    if (cached.size() < slots) {
        cached.push_back(asked[at]);
        return 1 + fewest_misses(asked, at + 1, cached, slots);
    }
    uint64_t best = UINT64_MAX;
    for (int& slot : cached) {
        const int old = std::exchange(slot, asked[at]);
        best = std::min(best, 1 + fewest_misses(asked, at + 1, cached, slots));
        slot = old;
    }
    return best;
}

TEST(CacheSimulator, TheOptimumIsTheOptimum) {
    std::mt19937 random(4);
    for (int round = 0; round < 20; ++round) {
        RoutingTrace trace(1, 5, 1);
        std::vector<int> asked;
        for (int i = 0; i < 12; ++i) {
            const auto id = static_cast<int32_t>(random() % 5);
            asked.push_back(id);
            trace.append(0, {&id, 1}, {&id, 1});
        }
        EXPECT_EQ(simulate_optimum(trace, 3).misses, fewest_misses(asked, 0, {}, 3));
    }
}

TEST(CacheSimulator, NoPolicyBeatsTheOptimum) {
    const RoutingTrace trace = random_trace(6, 32, 4, 300, 2);
    const std::vector<uint64_t> sizes = slots_of_fractions(trace, std::vector<double>{0.0, 0.06, 0.12, 0.25, 1.0});
    EXPECT_EQ(sizes, (std::vector<uint64_t>{0, 12, 23, 48, 192}));
    const auto results = simulate_all(trace, sizes);
    constexpr size_t kPolicies = std::size(kAllPolicies);
    ASSERT_EQ(results.size(), 4 * (kPolicies + 1));  // a cache of nothing is left out
    for (size_t i = 0; i < results.size(); i += kPolicies + 1) {
        const SimulatedTiers& best = results[i + kPolicies];
        EXPECT_EQ(best.policy, "belady");
        for (size_t p = 0; p < kPolicies; ++p) EXPECT_LE(results[i + p].hits[0], best.hits[0]) << results[i + p].policy;
    }
    EXPECT_EQ(results[3 * (kPolicies + 1)].misses, results.back().misses);  // all fit: only first uses miss
    EXPECT_THROW(simulate_cache(trace, EvictionPolicy::kLru, 3), Error);
}

TEST(CacheSimulator, NoPolicyBeatsTheOptimumOfTwoTiers) {
    const RoutingTrace trace = random_trace(6, 32, 4, 300, 2);
    const auto results = simulate_all(trace, std::vector<uint64_t>{12, 48}, 96);
    constexpr size_t kPolicies = std::size(kAllPolicies);
    ASSERT_EQ(results.size(), 2 * (kPolicies + 1));
    for (size_t i = 0; i < results.size(); i += kPolicies + 1) {
        const SimulatedTiers& best = results[i + kPolicies];
        EXPECT_EQ(best.misses, simulate_optimum(trace, best.slots[0] + 96).misses);
        for (size_t p = 0; p < kPolicies; ++p) {
            const SimulatedTiers& tiers = results[i + p];
            EXPECT_EQ(tiers.slots, best.slots);
            EXPECT_LE(tiers.hits[0], best.hits[0]) << tiers.policy;
            EXPECT_GE(tiers.misses, best.misses) << tiers.policy;
            EXPECT_GT(tiers.hits[1], 0u) << tiers.policy;
            EXPECT_EQ(tiers.hits[0] + tiers.hits[1] + tiers.misses, best.hits[0] + best.hits[1] + best.misses);
        }
    }
}

// Routers as peers measured them: skewed, with a part of the last token's experts used again. Where the cache is
// smaller than one token's demand, LRU has next to nothing.
TEST(CacheSimulator, FrequencyClosesAQuarterOfTheGapOnASkewedTrace) {
    const RoutingTrace trace = random_trace(12, 64, 4, 600, 3);
    for (const uint64_t slots : slots_of_fractions(trace, std::vector<double>{0.03, 0.25})) {
        const auto lru = static_cast<double>(simulate_cache(trace, EvictionPolicy::kLru, slots).hits);
        const auto frequency = static_cast<double>(simulate_cache(trace, EvictionPolicy::kFrequencyLru, slots).hits);
        const auto similar = static_cast<double>(simulate_cache(trace, EvictionPolicy::kSimilarTokens, slots).hits);
        const auto best = static_cast<double>(simulate_optimum(trace, slots).hits);
        EXPECT_GT((frequency - lru) / (best - lru), 0.25) << slots;
        // Here tokens have nothing to be alike in: looking for like ones must not cost much either.
        EXPECT_GT(similar, 0.97 * frequency) << slots;
    }
}

// Four sequences stepped together. Each goes round in a text of its own, and what tells its tokens apart are experts of
// high numbers; the low ones are anybody's.
RoutingTrace interleaved_trace(int tokens) {
    constexpr int kLayers = 4, kExperts = 256, kTopK = 8, kSequences = 4;
    std::mt19937 random(6);
    RoutingTrace trace(kLayers, kExperts, kTopK);
    const auto pick = [&](unsigned seed, int layer) {
        std::mt19937 own(seed * 31 + static_cast<unsigned>(layer));
        std::vector<int32_t> ids;
        while (ids.size() < kTopK) {
            const bool low = ids.size() < kTopK / 2;
            const auto id = static_cast<int32_t>(low ? random() % 48 : 48 + own() % (kExperts - 48));
            if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
        }
        return ids;
    };
    for (int token = 0; token < tokens; ++token) {
        for (int layer = 0; layer < kLayers; ++layer) {
            std::vector<int32_t> ids;
            for (int sequence = 0; sequence < kSequences; ++sequence) {
                const int in_text = token % (5 + sequence);
                const auto chosen = pick(static_cast<unsigned>(100 * sequence + in_text), layer);
                ids.insert(ids.end(), chosen.begin(), chosen.end());
            }
            const std::vector<int32_t> positions(kSequences, token);
            trace.append(layer, ids, positions);
        }
    }
    return trace;
}

TEST(CacheSimulator, LikeTokensAreFoundInEachOfSeveralSequences) {
    const RoutingTrace trace = interleaved_trace(400);
    // Were a batch remembered as one token, a twentieth of what is left to gain over use alone would be gained, or a
    // quarter.
    for (const auto& [part, least] : {std::pair<uint64_t, double>{2, 0.5}, {4, 0.4}}) {
        const uint64_t slots = experts_of(trace) / part;
        const auto frequency = static_cast<double>(simulate_cache(trace, EvictionPolicy::kFrequencyLru, slots).hits);
        const auto similar = static_cast<double>(simulate_cache(trace, EvictionPolicy::kSimilarTokens, slots).hits);
        const auto best = static_cast<double>(simulate_optimum(trace, slots).hits);
        EXPECT_GT((similar - frequency) / (best - frequency), least) << slots;
    }
}

TEST(RoutingTrace, SurvivesTheFile) {
    const TemporaryFolder folder;
    const RoutingTrace trace = random_trace(3, 16, 4, 20, 1, 5);
    trace.save(folder / "trace.safetensors");
    const RoutingTrace loaded = RoutingTrace::load(folder / "trace.safetensors");
    EXPECT_EQ(loaded.layers(), 3);
    EXPECT_EQ(loaded.experts(), 16);
    EXPECT_EQ(loaded.top_k(), 4);
    ASSERT_EQ(loaded.steps(), trace.steps());
    for (int64_t step = 0; step < trace.steps(); ++step) {
        EXPECT_EQ(loaded.layer(step), trace.layer(step));
        EXPECT_EQ(loaded.position(step), trace.position(step));
        EXPECT_EQ(loaded.batch(step), trace.batch(step));
        EXPECT_TRUE(std::ranges::equal(loaded.chosen(step), trace.chosen(step)));
    }
}

TEST(RoutingTrace, RefusesWhatDoesNotFit) {
    RoutingTrace trace(2, 8, 2);
    const std::vector<int32_t> ids{1, 7, 2, 3}, positions{0, 1}, bad_id{1, 8, 2, 3}, short_positions{0};
    EXPECT_THROW(trace.append(2, ids, positions), Error);
    EXPECT_THROW(trace.append(0, bad_id, positions), Error);
    EXPECT_THROW(trace.append(0, ids, short_positions), Error);
    trace.append(1, ids, positions);
    EXPECT_EQ(trace.steps(), 2);
    EXPECT_EQ(trace.chosen(1)[0], 2);
}

TEST(RoutingTrace, AFileThatIsNoTraceIsNamed) {
    const TemporaryFolder folder;
    const auto path = folder / "not-a-trace.safetensors";
    const auto message = [&](const std::string& header) {
        std::string text(8, '\0');
        for (size_t i = 0; i < 8; ++i) text[i] = static_cast<char>(header.size() >> (8 * i) & 255);
        write_text_file(path, text + header + std::string(64, '\1'));
        try {
            RoutingTrace::load(path);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kInvalidFile);
            return std::string(error.what());
        }
        return std::string("no error");
    };
    EXPECT_THAT(message(R"({"layer":{"dtype":"I32","shape":[16],"data_offsets":[0,64]}})"),
                HasSubstr("metadata \"layers\""));
    EXPECT_THAT(message(R"({"__metadata__":{"layers":"2","experts":"8","top_k":"2"},)"
                        R"("other":{"dtype":"I32","shape":[16],"data_offsets":[0,64]}})"),
                HasSubstr("no tensor \"layer\""));
    // 0x01010101 is no layer.
    EXPECT_THAT(message(R"({"__metadata__":{"layers":"2","experts":"8","top_k":"2"},)"
                        R"("layer":{"dtype":"I32","shape":[16],"data_offsets":[0,64]}})"),
                HasSubstr("16843009"));
}

}  // namespace
}  // namespace sluice::testing
