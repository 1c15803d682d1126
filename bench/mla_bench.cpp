// The two forms of MLA for prefill at DeepSeek-V3's shape: when does expanding keys and values pay? Arguments of a run
// are new tokens and cached tokens before them. Weights are random affine 4-bit, the cache random BF16.

#include <benchmark/benchmark.h>

#include <random>

#include "backend/cpu/cpu_backend.h"
#include "backend/kv_layout.h"
#include "backend/latent_forms.h"
#include "tensor/weight_view.h"
#include "tests/backend/step_tables.h"

namespace sluice {
namespace {

constexpr int64_t kHeads = 128, kNope = 128, kRope = 64, kValue = 128, kRank = 512, kPageTokens = 256;

class Bench {
  public:
    Bench(int64_t rows, int64_t position) : backend_(make_cpu_backend({})), rows_(rows) {
        const WeightFormat format = WeightFormat::affine(4, 64, DType::kBF16);
        const int64_t weight_rows = kHeads * (kNope + kValue);
        std::vector<std::byte> data(format.data_bytes(weight_rows, kRank)),
            scales(format.scale_bytes(weight_rows, kRank)), zero_points(format.zero_point_bytes(weight_rows, kRank));
        const std::vector<float> values = normals(weight_rows * kRank, 0.05f);
        encode(format, values.data(), weight_rows, kRank, {data.data(), scales.data(), zero_points.data()});
        weight_ = {.format = format,
                   .rows = weight_rows,
                   .columns = kRank,
                   .data = {put(data), 0},
                   .scales = {put(scales), 0},
                   .zero_points = {put(zero_points), 0}};
        query_ = tensor(kHeads * (kNope + kRope));
        scratch_ = tensor(LatentAttention::scratch_columns(kHeads, kRank));
        out_ = tensor(kHeads * kValue);
        const LatentKvLayout layout(KvFormat::kBF16, kPageTokens, kRank, kRope);
        std::vector<std::vector<std::byte>> pages;
        for (int64_t first = 0; first < position + rows; first += kPageTokens) {
            std::vector<std::byte>& page = pages.emplace_back(layout.page_bytes());
            for (int64_t t = 0; t < kPageTokens; ++t) {
                encode_kv_row(KvFormat::kBF16, normals(kRank, 1).data(), kRank, page.data() + layout.latent(t));
                encode_kv_row(KvFormat::kBF16, normals(kRope, 1).data(), kRope, page.data() + layout.rotary_key(t));
            }
        }
        CacheBuilder builder(KvFormat::kBF16, kPageTokens, layout.page_bytes());
        builder.add(std::move(pages));
        cache_ = builder.build(*backend_);
        sequences_ = sequences_of(*backend_, {{.first_row = 0, .count = rows, .position = position}});
        segments_ = kv_segments("mla_bench", sequences_, cache_, rows);
    }

    void folded() {
        attend_folded(attention(), segments_, [&](const auto& form) { cpu().compute(form); });
    }
    void expanded() { cpu().compute(ExpandedLatentAttention{attention(), segments_}); }

  private:
    CpuBackend& cpu() { return static_cast<CpuBackend&>(*backend_); }
    LatentAttention attention() const {
        return {.query = query_,
                .key = weight_,
                .value_weight = weight_,
                .transposed = true,
                .heads = kHeads,
                .nope = kNope,
                .rope = kRope,
                .value = kValue,
                .scale = 0.07f,
                .sequences = sequences_,
                .cache = cache_,
                .scratch = scratch_,
                .out = out_};
    }
    std::vector<float> normals(int64_t count, float scale) {
        std::normal_distribution<float> normal(0, scale);
        std::vector<float> values(static_cast<size_t>(count));
        for (float& value : values) value = normal(random_);
        return values;
    }
    BufferPtr put(std::span<const std::byte> bytes) {
        BufferPtr buffer = backend_->allocate(bytes.size());
        backend_->upload(buffer, 0, bytes);
        return buffer;
    }
    Tensor tensor(int64_t columns) {
        const std::vector<float> values = normals(rows_ * columns, 0.1f);
        return make_tensor(put(std::as_bytes(std::span(values))), DType::kF32, rows_, columns);
    }

    std::unique_ptr<Backend> backend_;
    int64_t rows_;
    std::mt19937 random_{1};
    Weight weight_;
    Tensor query_, scratch_, out_;
    PagedCache cache_;
    Sequences sequences_;
    std::vector<KvSegment> segments_;
};

void folded_form(benchmark::State& state) {
    Bench bench(state.range(0), state.range(1));
    for (auto _ : state) bench.folded();
}

void expanded_form(benchmark::State& state) {
    Bench bench(state.range(0), state.range(1));
    for (auto _ : state) bench.expanded();
}

void shapes(benchmark::internal::Benchmark* bench) {
    for (const int64_t rows : {16, 64, 256, 512}) {
        for (const int64_t position : {0, 2048}) bench->Args({rows, position});
    }
    bench->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(2);
}

BENCHMARK(folded_form)->Apply(shapes);
BENCHMARK(expanded_form)->Apply(shapes);

}  // namespace
}  // namespace sluice

BENCHMARK_MAIN();
