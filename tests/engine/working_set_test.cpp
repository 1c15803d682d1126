// A long prompt of one session passes through the expert cache without driving out what another session's decoding
// uses.

#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "engine/engine_impl.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::filesystem::path kModel = sluice::testing::source_file("/models/stories-hybrid");
constexpr size_t kDecoded = 160, kMeasured = 32, kLongPrompt = 900;
constexpr uint64_t kCachedParts = 3;  // the cache holds one third of all experts

using Tokens = std::vector<TokenId>;

struct Decode {
    uint64_t hits = 0, misses = 0;
    double hit_rate() const { return static_cast<double>(hits) / static_cast<double>(hits + misses); }
};

// A text as the model writes it, so that its routing is that of a text.
Tokens written_by_model(uint64_t seed, size_t tokens) {
    EngineOptions options;
    options.context = 1024;
    const auto engine = Engine::open(kModel, options);
    const auto session = engine->new_session();
    GenerationOptions sampled;
    sampled.max_tokens = static_cast<int64_t>(tokens);
    sampled.ignore_eos = true;
    sampled.sampling.seed = seed;
    return engine->generate(*session, engine->tokenizer()->encode("Once upon a time"), sampled).token_ids;
}

struct Measured {
    Decode before, after;  // the last kMeasured tokens before the long prompt, the first ones after it
    uint64_t slots = 0;
};

// Decodes `tokens` one by one; before the last kMeasured of them another session evaluates `prompt`, if there is one.
Measured measure(const Tokens& tokens, const Tokens& prompt, const std::filesystem::path& trace) {
    EngineOptions options;
    options.context = 1024;
    options.trace = trace;
    options.look_ahead = When::kOff;  // what it brings depends on the drive's idle time
    uint64_t slot_bytes = 0;
    const auto engine = Engine::Impl::open(
        kModel, options, [&](const auto& checkpoint, ExpertStoreOptions store, const auto& make_slots) {
            store.cache_bytes = ExpertStore::full_bytes(*checkpoint) / kCachedParts;
            slot_bytes = ExpertCatalogue::of(checkpoint).record_sizes().front();
            return std::make_unique<ExpertStore>(checkpoint, store, make_slots);
        });
    const auto writer = engine->new_session(), reader = engine->new_session();
    const auto decode = [&](size_t begin, size_t end) {
        const EngineStatistics start = engine->statistics();
        for (size_t i = begin; i < end; ++i) engine->evaluate(*writer, std::span(tokens).subspan(i, 1));
        const EngineStatistics now = engine->statistics();
        return Decode{now.experts.hits - start.experts.hits, now.experts.misses - start.experts.misses};
    };
    Measured result;
    result.slots = engine->info().cache_bytes / slot_bytes;
    const size_t measured_from = tokens.size() - kMeasured;
    decode(0, measured_from - kMeasured);
    result.before = decode(measured_from - kMeasured, measured_from);
    if (!prompt.empty()) engine->evaluate(*reader, prompt);
    result.after = decode(measured_from, tokens.size());
    engine->save_trace();
    return result;
}

// The same requests through a cache that throws out what was used longest ago, whoever used it.
Decode plain_lru(const RoutingTrace& trace, size_t slots) {
    std::list<std::pair<int32_t, int32_t>> cached;  // layer and expert, the latest first
    const int64_t measured_from = trace.steps() - static_cast<int64_t>(kMeasured) * trace.layers();
    Decode result;
    for (int64_t step = 0; step < trace.steps(); ++step) {
        for (const int32_t expert : trace.chosen(step)) {
            const std::pair key(trace.layer(step), expert);
            const auto found = std::find(cached.begin(), cached.end(), key);
            if (step >= measured_from) ++(found == cached.end() ? result.misses : result.hits);
            if (found != cached.end()) cached.erase(found);
            cached.push_front(key);
            if (cached.size() > slots) cached.pop_back();
        }
    }
    return result;
}

TEST(WorkingSet, OfDecodingSurvivesALongPrompt) {
    const TemporaryFolder folder;
    const Tokens tokens = written_by_model(1, kDecoded), prompt = written_by_model(2, kLongPrompt);
    const Measured undisturbed = measure(tokens, {}, folder / "undisturbed");
    const Measured disturbed = measure(tokens, prompt, folder / "disturbed");
    const Decode lru = plain_lru(RoutingTrace::load(folder / "disturbed"), disturbed.slots);
    RecordProperty("before", std::to_string(disturbed.before.hit_rate()));
    RecordProperty("after", std::to_string(disturbed.after.hit_rate()));
    RecordProperty("undisturbed", std::to_string(undisturbed.after.hit_rate()));
    RecordProperty("plain_lru", std::to_string(lru.hit_rate()));

    ASSERT_EQ(disturbed.before.hits, undisturbed.before.hits);
    ASSERT_EQ(lru.hits + lru.misses, disturbed.after.hits + disturbed.after.misses);
    // A scan takes a few slots of what decoding has, which it has back after a few tokens; seen: 0.001. The text itself
    // changes the rate more than that.
    EXPECT_GT(disturbed.after.hit_rate(), undisturbed.after.hit_rate() - 0.02);
    EXPECT_GT(disturbed.after.hit_rate(), disturbed.before.hit_rate() - 0.05);
    EXPECT_GT(disturbed.after.hit_rate(), lru.hit_rate() + 0.08);
}

}  // namespace
}  // namespace sluice::testing
