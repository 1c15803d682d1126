// Every kernel of the CPU backend on random numbers, with the fraction of a bound measured in the same run: memory
// reads for one token, arithmetic for many.

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cstring>
#include <random>
#include <string_view>

#include "backend/backend.h"
#include "backend/cpu/cpu_features.h"
#include "backend/cpu/linear.h"
#include "backend/host_tensors.h"
#include "backend/kv_layout.h"
#include "base/processors.h"
#include "base/thread_pool.h"
#include "bench/bounds.h"
#include "bench/format_reads.h"
#include "bench/random_data.h"
#include "tensor/codecs.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {
namespace {

// Weights of this many bytes pass by before one is read again: far more than the caches.
constexpr uint64_t kStreamBytes = uint64_t{400} << 20;

std::unique_ptr<Backend> backend() {
    return make_cpu_backend({});
}

void report_reads(benchmark::State& state, double bytes) {
    const size_t threads = available_cores();
    state.counters["GB/s"] = benchmark::Counter(bytes / 1e9, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["of bound"] =
        benchmark::Counter(bytes / read_bytes_per_second(threads), benchmark::Counter::kIsIterationInvariantRate);
}

void report_ops(benchmark::State& state, double ops, double bound_per_thread) {
    const auto threads = static_cast<double>(available_cores());
    state.counters["GOP/s"] = benchmark::Counter(ops / 1e9, benchmark::Counter::kIsIterationInvariantRate);
    if (bound_per_thread > 0) {
        state.counters["of bound"] =
            benchmark::Counter(ops / (threads * bound_per_thread), benchmark::Counter::kIsIterationInvariantRate);
    }
}

// Of the products in which such a weight meets many tokens.
double ops_per_second(const WeightFormat& format) {
    const LinearKernel* kernel = fastest_layout(select_kernels(InstructionSet::kAuto), format).kernel;
    if (kernel == &kInt8Linear || kernel == &kBlockLinear) return int8_ops_per_second();
    return kernel == &kFloatLinear ? float_ops_per_second() : bf16_ops_per_second();
}

// One token through a weight at a time, the weights one after the other, their rows one after the other or in tiles.
void decode(benchmark::State& state, const WeightFormat& format, int64_t rows, int64_t columns, bool tiled) {
    const auto cpu = backend();
    std::vector<Weight> weights;
    do {
        weights.push_back(random_weight(*cpu, format, rows, columns));
        weights.back().tiled = tiled;
    } while (weights.size() * weight_bytes(weights[0]) < kStreamBytes);
    const Tensor x = random_tensor(*cpu, 1, columns), out = random_tensor(*cpu, 1, rows);
    size_t next = 0;
    for (auto _ : state) {
        cpu->run(Linear{.x = x, .weight = weights[next], .out = out});
        next = (next + 1) % weights.size();
    }
    cpu->wait();
    report_reads(state, static_cast<double>(weight_bytes(weights[0])));
}

void linear_decode(benchmark::State& state, WeightFormat format, int64_t rows, int64_t columns) {
    decode(state, format, rows, columns, false);
}

void tiled_decode(benchmark::State& state, WeightFormat format, int64_t rows, int64_t columns) {
    decode(state, format, rows, columns, true);
}

// A router's projection in float, whatever the mode; its weight comes from memory.
void router(benchmark::State& state, WeightFormat format, int64_t rows, int64_t columns) {
    const auto cpu = backend();
    std::vector<Weight> weights;
    do weights.push_back(random_weight(*cpu, format, rows, columns));
    while (weights.size() * weight_bytes(weights[0]) < kStreamBytes);
    const Tensor x = random_tensor(*cpu, 1, columns), out = random_tensor(*cpu, 1, rows);
    size_t next = 0;
    for (auto _ : state) {
        cpu->run(Linear{.x = x, .weight = weights[next], .out = out, .full_precision = true});
        next = (next + 1) % weights.size();
    }
    report_reads(state, static_cast<double>(weight_bytes(weights[0])));
}

// A kernel for one token alone, on one thread, its weights in the second cache: what arithmetic leaves of the
// bandwidth.
void cached_vector(benchmark::State& state, WeightFormat format, int64_t rows, int64_t columns) {
    const auto cpu = backend();
    const KernelTable& kernels = select_kernels(InstructionSet::kAuto);
    const Weight weight = random_weight(*cpu, format, rows, columns);
    const WeightView part = view(weight);
    const std::vector<int8_t> values(static_cast<size_t>(kernels.quantized_bytes(columns, format.bits)), 3);
    const std::vector<float> factors(static_cast<size_t>(columns / format.group_size), 0.5F);
    const QuantizedRow x{values.data(), factors.data(), factors.data()};
    std::vector<float> out(static_cast<size_t>(rows));
    for (auto _ : state) {
        kernels.affine_vector(part, x, out.data(), false, nullptr);
        benchmark::DoNotOptimize(out.data());
    }
    state.counters["GB/s"] = benchmark::Counter(static_cast<double>(weight_bytes(weight)) / 1e9,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void linear_prefill(benchmark::State& state, WeightFormat format, int64_t rows, int64_t columns, int64_t tokens) {
    const auto cpu = backend();
    const Weight weight = random_weight(*cpu, format, rows, columns);
    const Tensor x = random_tensor(*cpu, tokens, columns), out = random_tensor(*cpu, tokens, rows);
    for (auto _ : state) cpu->run(Linear{.x = x, .weight = weight, .out = out});
    cpu->wait();
    report_ops(state, 2.0 * static_cast<double>(rows * columns * tokens), ops_per_second(format));
}

// `tokens` tokens through top-8 of `experts` experts of a Qwen3-30B-A3B layer.
void experts(benchmark::State& state, WeightFormat format, int64_t tokens) {
    constexpr int64_t kHidden = 2048, kInner = 768, kTopK = 8, kExperts = 128;
    const auto cpu = backend();
    std::vector<MlpGroup> all;
    double expert_bytes = 0;
    for (int64_t e = 0; e < kExperts; ++e) {
        all.push_back({.gate = random_weight(*cpu, format, kInner, kHidden),
                       .up = random_weight(*cpu, format, kInner, kHidden),
                       .down = random_weight(*cpu, format, kHidden, kInner)});
        expert_bytes = static_cast<double>(2 * weight_bytes(all[0].gate) + weight_bytes(all[0].down));
    }
    const Tensor x = random_tensor(*cpu, tokens, kHidden), out = random_tensor(*cpu, tokens * kTopK, kHidden);
    std::mt19937 random(1);
    size_t next = 0;
    for (auto _ : state) {
        state.PauseTiming();
        std::vector<std::vector<int32_t>> rows(all.size()), out_rows(all.size());
        for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t j = 0; j < kTopK; ++j) {
                // A token's experts differ; over many tokens every expert is as likely.
                next = (next + (tokens == 1 ? 1 : 1 + random() % 31)) % all.size();
                rows[next].push_back(static_cast<int32_t>(t));
                out_rows[next].push_back(static_cast<int32_t>(t * kTopK + j));
            }
        }
        GatedMlp op{.x = x, .groups = {}, .out = out};
        for (size_t e = 0; e < all.size(); ++e) {
            if (rows[e].empty()) continue;
            MlpGroup group = all[e];
            group.rows = int_table(*cpu, rows[e], 1);
            group.out_rows = int_table(*cpu, out_rows[e], 1);
            op.groups.push_back(std::move(group));
        }
        state.ResumeTiming();
        cpu->run(op);
    }
    cpu->wait();
    if (tokens == 1) {
        report_reads(state, kTopK * expert_bytes);
    } else {
        report_ops(state, 2.0 * static_cast<double>(tokens * kTopK * 3 * kHidden * kInner), ops_per_second(format));
    }
}

void attention(benchmark::State& state, KvFormat format, int64_t tokens, int64_t cached, int64_t heads,
               int64_t kv_heads, int64_t head_dim) {
    const auto cpu = backend();
    const GroupedKvLayout layout(format, 256, kv_heads, head_dim, head_dim);
    CacheBuilder builder(format, 256, layout.page_bytes());
    builder.add_empty(cached);
    const PagedCache cache = builder.build(*cpu);
    const Sequences all = sequences_of(*cpu, {{0, cached, 0}}),
                    rows = sequences_of(*cpu, {{0, tokens, cached - tokens}});
    cpu->run(AppendKeyValue{.keys = random_tensor(*cpu, cached, kv_heads * head_dim),
                            .values = random_tensor(*cpu, cached, kv_heads * head_dim),
                            .kv_heads = kv_heads,
                            .sequences = all,
                            .cache = cache});
    const Tensor query = random_tensor(*cpu, tokens, heads * head_dim),
                 out = random_tensor(*cpu, tokens, heads * head_dim);
    for (auto _ : state) {
        cpu->run(Attention{.query = query,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .scale = 0.06f,
                           .sequences = rows,
                           .cache = cache,
                           .out = out});
    }
    cpu->wait();
    if (tokens == 1) {
        report_reads(
            state, static_cast<double>(cached * kv_heads) * static_cast<double>(layout.key_bytes + layout.value_bytes));
    } else {
        const double pairs = static_cast<double>(tokens * (cached - tokens)) +
                             static_cast<double>(tokens) * static_cast<double>(tokens + 1) / 2;
        report_ops(state, 4.0 * static_cast<double>(head_dim * heads) * pairs, float_ops_per_second());
    }
}

StateSlots random_state(Backend& cpu, int64_t rows, int64_t columns) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> state(static_cast<size_t>(rows * columns));
    for (float& value : state) value = normal(random);
    return states_of(cpu, {state}, rows, columns);
}

// A gated DeltaNet layer of Qwen3.6-35B-A3B.
void delta_rule(benchmark::State& state, int64_t tokens) {
    const auto cpu = backend();
    const int64_t key_heads = 16, value_heads = 32, dim = 128;
    const Tensor qkv = random_tensor(*cpu, tokens, 2 * key_heads * dim + value_heads * dim);
    const Tensor b = random_tensor(*cpu, tokens, value_heads), a = random_tensor(*cpu, tokens, value_heads);
    const Tensor a_log = random_tensor(*cpu, 1, value_heads), dt_bias = random_tensor(*cpu, 1, value_heads);
    const Tensor out = random_tensor(*cpu, tokens, value_heads * dim);
    const StateSlots states = random_state(*cpu, value_heads * dim, dim);
    const Sequences sequences = sequences_of(*cpu, {{0, tokens, 0}});
    for (auto _ : state) {
        cpu->run(GatedDeltaRule{.qkv = qkv,
                                .b = b,
                                .a = a,
                                .a_log = a_log,
                                .dt_bias = dt_bias,
                                .key_heads = key_heads,
                                .value_heads = value_heads,
                                .key_dim = dim,
                                .value_dim = dim,
                                .sequences = sequences,
                                .states = states,
                                .out = out});
    }
    cpu->wait();
    report_ops(state, 7.0 * static_cast<double>(tokens * value_heads * dim * dim), float_ops_per_second());
}

void convolution(benchmark::State& state, int64_t tokens) {
    const auto cpu = backend();
    const int64_t channels = 8192, kernel = 4;
    const Tensor x = random_tensor(*cpu, tokens, channels), out = random_tensor(*cpu, tokens, channels);
    const Tensor weight = random_tensor(*cpu, channels, kernel);
    const StateSlots states = random_state(*cpu, kernel - 1, channels);
    const Sequences sequences = sequences_of(*cpu, {{0, tokens, 0}});
    for (auto _ : state) {
        cpu->run(CausalConvolution{.x = x, .weight = weight, .sequences = sequences, .states = states, .out = out});
    }
    cpu->wait();
    report_ops(state, 2.0 * static_cast<double>(tokens * channels * kernel), float_ops_per_second());
}

void rms_norm(benchmark::State& state, int64_t tokens) {
    const auto cpu = backend();
    const Tensor x = random_tensor(*cpu, tokens, 2048), weight = random_tensor(*cpu, 1, 2048);
    for (auto _ : state) cpu->run(RmsNorm{.x = x, .weight = weight, .epsilon = 1e-6f, .out = x});
    cpu->wait();
    report_ops(state, 4.0 * static_cast<double>(tokens * 2048), float_ops_per_second());
}

void route(benchmark::State& state, int64_t tokens) {
    const auto cpu = backend();
    const Tensor logits = random_tensor(*cpu, tokens, 256), weights = random_tensor(*cpu, tokens, 8);
    const Tensor ids = make_tensor(cpu->allocate(static_cast<uint64_t>(tokens) * 8 * 4), DType::kI32, tokens, 8);
    for (auto _ : state) cpu->run(Route{.logits = logits, .ids = ids, .weights = weights});
    cpu->wait();
}

void fork_join(benchmark::State& state) {
    ThreadPool pool(0);
    for (auto _ : state) {
        pool.parallel_for(pool.threads(), 1, [](size_t, size_t) {});
    }
}

void register_all() {
    using benchmark::RegisterBenchmark;
    const auto add = [](const std::string& name, auto&&... rest) {
        RegisterBenchmark(name.c_str(), rest...)->UseRealTime()->Unit(benchmark::kMicrosecond);
    };
    const auto affine = [](int bits, int group = 64) { return WeightFormat::affine(bits, group, DType::kBF16); };
    for (const int bits : {4, 8}) add(fmt::format("experts/{}-bit/1 token", bits), experts, affine(bits), 1);
    for (const int64_t tokens : {16, 64, 512, 2048})
        add(fmt::format("experts/4-bit/{} tokens", tokens), experts, affine(4), tokens);
    for (const WeightFormat& format : {WeightFormat::fp8_block(128, 128), kMxfp4Codec.standard}) {
        for (const int64_t tokens : {1, 64, 512})
            add(fmt::format("experts/{}/{} tokens", format.describe(), tokens), experts, format, tokens);
    }
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        add(fmt::format("linear/{}/1 token", affine(bits).describe()), linear_decode, affine(bits), 2048, 2048);
    }
    add(fmt::format("router/{}, 128 x 2048/1 token", affine(8).describe()), router, affine(8), 128, 2048);
    for (const int bits : {4, 8}) {
        if (!backend()->reads_tiles(affine(bits))) continue;
        add(fmt::format("linear/{} in tiles/1 token", affine(bits).describe()), tiled_decode, affine(bits), 2048, 2048);
    }
    for (const int64_t columns : {512, 768, 1408, 2048, 4096}) {
        add(fmt::format("cached vector/{}/64 x {}", affine(4).describe(), columns), cached_vector, affine(4), 64,
            columns);
    }
    for (const int group : {32, 128}) {
        add(fmt::format("linear/{}/1 token", affine(4, group).describe()), linear_decode, affine(4, group), 2048, 2048);
    }
    for (const WeightFormat& format :
         {WeightFormat::floating(DType::kBF16), WeightFormat::floating(DType::kF32), WeightFormat::fp8_block(128, 128),
          kMxfp4Codec.standard, kMxfp8Codec.standard, kNvfp4Codec.standard}) {
        add(fmt::format("linear/{}/1 token", format.describe()), linear_decode, format, 2048, 2048);
        add(fmt::format("linear/{}/512 tokens", format.describe()), linear_prefill, format, 2048, 2048, 512);
    }
    for (const Codec* codec : codecs()) {
        const WeightFormat& format = codec->standard;
        if (fastest_layout(select_kernels(InstructionSet::kAuto), format).kernel != &kBlockLinear) continue;
        add(fmt::format("linear/{}/1 token", format.describe()), linear_decode, format, 2048, 2048);
        if (backend()->reads_tiles(format)) {
            add(fmt::format("linear/{} in tiles/1 token", format.describe()), tiled_decode, format, 2048, 2048);
        }
        for (const int64_t tokens : {16, 512}) {
            add(fmt::format("linear/{}/{} tokens", format.describe(), tokens), linear_prefill, format, 2048, 2048,
                tokens);
        }
    }
    for (const Codec* codec : {&kQ4_KCodec, &kQ6_KCodec, &kIq2XxsCodec}) {
        for (const int64_t tokens : {1, 64, 512}) {
            add(fmt::format("experts/{}/{} tokens", codec->name, tokens), experts, codec->standard, tokens);
        }
    }
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        add(fmt::format("linear/{}/512 tokens", affine(bits).describe()), linear_prefill, affine(bits), 2048, 2048,
            512);
    }
    for (const int64_t tokens : {2, 3, 4, 6, 8, 12, 16, 32}) {
        add(fmt::format("linear/{}/{} tokens", affine(4).describe(), tokens), linear_prefill, affine(4), 2048, 2048,
            tokens);
    }
    for (const KvFormat format : {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8}) {
        add(fmt::format("attention/{}/1 of 8192", kv_format_name(format)), attention, format, 1, 8192, 16, 2, 256);
    }
    add("attention/bf16/1536 of 1536", attention, KvFormat::kBF16, 1536, 1536, 16, 2, 256);
    add("attention/bf16/1024 of 8192", attention, KvFormat::kBF16, 1024, 8192, 16, 2, 256);
    add("attention/bf16/512 of 512, 32 heads of 128", attention, KvFormat::kBF16, 512, 512, 32, 4, 128);
    for (const int64_t tokens : {1, 512}) {
        add(fmt::format("delta rule/{} tokens", tokens), delta_rule, tokens);
        add(fmt::format("convolution/{} tokens", tokens), convolution, tokens);
        add(fmt::format("rms norm/{} tokens", tokens), rms_norm, tokens);
        add(fmt::format("route/{} tokens", tokens), route, tokens);
    }
    add("fork and join", fork_join);
}

}  // namespace
}  // namespace sluice::bench

// kernels_bench --formats [PART OF A NAME]: the table of format_reads.h instead.
int main(int argc, char** argv) {
    using namespace sluice;
    if (argc > 1 && argv[1] == std::string_view("--formats")) {
        bench::print_format_reads(argc > 2 ? argv[2] : "");
        return 0;
    }
    benchmark::Initialize(&argc, argv);
    const size_t threads = available_cores();
    fmt::print("{}\n", make_cpu_backend({})->name());
    fmt::print(
        "bounds: {:.1f} GB/s reads with 1 thread, {:.1f} with {}; per thread {:.0f} int8 GOP/s, {:.0f} BF16 "
        "GOP/s, {:.0f} F32 GOP/s\n",
        bench::read_bytes_per_second(1) / 1e9, bench::read_bytes_per_second(threads) / 1e9, threads,
        bench::int8_ops_per_second() / 1e9, bench::bf16_ops_per_second() / 1e9, bench::float_ops_per_second() / 1e9);
    bench::register_all();
    benchmark::RunSpecifiedBenchmarks();
}
