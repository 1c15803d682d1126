// Every architecture and layout against recorded outputs, at the level of the model, on any backend. The queued backend
// runs operations later, in memory of its own: model code that works there has no host pointer to lean on.

#include <gtest/gtest.h>

#include <map>

#include "backend/cuda_backend.h"
#include "model/model.h"
#include "sluice/cards.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/golden_case.h"

namespace sluice::testing {
namespace {

constexpr double kTolerance = 1e-3;

struct Outputs {
    std::vector<float> logits;
    std::vector<std::vector<float>> hidden;
};

Outputs run_model(const GoldenCase& golden, Backend& backend, size_t chunk, uint64_t cache_bytes) {
    const auto checkpoint = Checkpoint::open(golden.folder);
    Model model(checkpoint, backend, KvFormat::kF32);
    ExpertStoreOptions options;
    options.cache_bytes = cache_bytes;
    ExpertStore store(checkpoint, options,
                      [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
    model.use_experts(store, nullptr);
    const Reference reference = load_reference(golden);
    const auto state = model.new_state();
    Outputs run;
    for (size_t begin = 0; begin < reference.ids.size(); begin += chunk) {
        const auto ids = std::span(reference.ids).subspan(begin, std::min(chunk, reference.ids.size() - begin));
        ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {}, .hidden = true};
        for (int32_t r = 0; r < static_cast<int32_t>(ids.size()); ++r) input.logit_rows.push_back(r);
        std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
        if (outputs[0].error) std::rethrow_exception(outputs[0].error);
        run.logits.insert(run.logits.end(), outputs[0].logits.begin(), outputs[0].logits.end());
        run.hidden.resize(outputs[0].hidden.size());
        for (size_t l = 0; l < run.hidden.size(); ++l) {
            run.hidden[l].insert(run.hidden[l].end(), outputs[0].hidden[l].begin(), outputs[0].hidden[l].end());
        }
    }
    return run;
}

void expect_close(const Outputs& run, const Reference& reference) {
    EXPECT_LE(largest_difference(run.logits, reference.logits), kTolerance);
    ASSERT_EQ(run.hidden.size(), reference.hidden.size());
    for (size_t l = 0; l < run.hidden.size(); ++l) {
        if (reference.hidden[l].empty()) continue;
        EXPECT_LE(largest_difference(run.hidden[l], reference.hidden[l]), kTolerance) << "hidden." << l;
    }
}

// Runs that must agree to the last bit. MLA takes another form for many new tokens, so there the chunk is part of it.
class SameBits {
  public:
    explicit SameBits(const GoldenCase& golden)
        : by_chunk_(first_block<LatentAttentionConfig>(Checkpoint::open(golden.folder)->config()) != nullptr) {}
    void expect(const Outputs& run, size_t chunk) {
        std::vector<float>& first = first_[by_chunk_ ? chunk : 0];
        if (first.empty()) first = run.logits;
        EXPECT_TRUE(run.logits == first) << "largest difference " << largest_difference(run.logits, first);
    }

  private:
    bool by_chunk_;
    std::map<size_t, std::vector<float>> first_;
};

class Goldens : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(Goldens, ReferenceBackend) {
    const auto backend = make_reference_backend();
    expect_close(run_model(GetParam(), *backend, 1000, 64 << 20), load_reference(GetParam()));
}

TEST_P(Goldens, QueuedBackendWithMemoryOfItsOwn) {
    const auto backend = make_queued_backend();
    const auto checkpoint = Checkpoint::open(GetParam().folder);
    expect_close(run_model(GetParam(), *backend, 7, ExpertStore::floor_bytes(*checkpoint)), load_reference(GetParam()));
}

TEST_P(Goldens, CudaBackendInAnyChunkAndCache) {
    if (cards().empty()) GTEST_SKIP() << "no CUDA card, or built without CUDA";
    const Reference reference = load_reference(GetParam());
    const uint64_t floor = ExpertStore::floor_bytes(*Checkpoint::open(GetParam().folder));
    for (const bool exact : {true, false}) {
        const auto backend = make_cuda_backend({.device = 0, .exact = exact});
        for (const size_t chunk : {size_t{1}, size_t{7}, size_t{1000}}) {
            for (const uint64_t cache : {floor, uint64_t{64} << 20}) {
                SCOPED_TRACE(::testing::Message()
                             << (exact ? "exact" : "default") << " chunk " << chunk << " cache " << cache);
                const Outputs run = run_model(GetParam(), *backend, chunk, cache);
                const Outputs again = run_model(GetParam(), *backend, chunk, cache);
                EXPECT_TRUE(run.logits == again.logits);
                // Larger chunks meet tensor cores, whose rounding may send a token to another expert.
                if (exact || chunk < 33) expect_close(run, reference);
            }
        }
    }
}

TEST_P(Goldens, CpuBackendInAnyChunkAndCache) {
    const Reference reference = load_reference(GetParam());
    const uint64_t floor = ExpertStore::floor_bytes(*Checkpoint::open(GetParam().folder));
    SameBits same(GetParam());
    for (const size_t threads : {1u, 2u, 3u}) {
        const auto backend = make_cpu_backend({.threads = threads, .exact = true});
        for (const size_t chunk : {size_t{1}, size_t{7}, size_t{64}, size_t{1000}}) {
            for (const uint64_t cache : {floor, uint64_t{64} << 20}) {
                SCOPED_TRACE(::testing::Message() << "threads " << threads << " chunk " << chunk << " cache " << cache);
                const Outputs run = run_model(GetParam(), *backend, chunk, cache);
                expect_close(run, reference);
                // Whatever only moves bytes, or cuts the work, changes no bit.
                same.expect(run, chunk);
            }
        }
    }
}

TEST_P(Goldens, DefaultModeIsCloseAndIndependentOfChunkAndThreads) {
    SameBits same(GetParam());
    for (const size_t threads : {1u, 2u}) {
        const auto backend = make_cpu_backend({.threads = threads});
        for (const size_t chunk : {size_t{1}, size_t{7}, size_t{1000}}) {
            const Outputs run = run_model(GetParam(), *backend, chunk, 64 << 20);
            SCOPED_TRACE(::testing::Message() << "threads " << threads << " chunk " << chunk);
            same.expect(run, chunk);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, Goldens, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
