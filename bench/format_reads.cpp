#include "bench/format_reads.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/machine_speed.h"
#include "base/processors.h"
#include "base/thread_pool.h"
#include "bench/random_data.h"
#include "tensor/codecs.h"

namespace sluice::bench {
namespace {

constexpr int64_t kSide = 2048;                         // rows and columns
constexpr int64_t kCachedRows = 96;                     // of these columns: the second cache holds them
constexpr uint64_t kMemoryBytes = uint64_t{160} << 20;  // far more than the caches
constexpr int kRounds = 5;                              // the best of them: other processes only ever slow one down

std::vector<WeightFormat> all_formats() {
    std::vector<WeightFormat> formats{WeightFormat::floating(DType::kBF16), WeightFormat::floating(DType::kF16)};
    for (const int bits : {2, 3, 4, 5, 6, 8}) formats.push_back(WeightFormat::affine(bits, 64, DType::kBF16));
    for (const DType scales : {DType::kF32, DType::kBF16, DType::kF8E8M0}) {
        formats.push_back(WeightFormat::fp8_block(128, 128, scales));
    }
    for (const Codec* codec : codecs()) {
        const bool listed = codec == &kFloatCodec || codec == &kAffineCodec || codec == &kFp8BlockCodec;
        if (!listed) formats.push_back(codec->standard);
    }
    return formats;
}

// Products of one token with weights of a format on some threads.
class Reader {
  public:
    Reader(Backend& backend, std::vector<Weight> weights) : backend_(backend), weights_(std::move(weights)) {
        x_ = random_tensor(backend, 1, weights_[0].columns);
        out_ = random_tensor(backend, 1, weights_[0].rows);
    }
    // Bytes per second of `passes` over all weights.
    double speed(int passes) const {
        const Stopwatch watch;
        for (int pass = 0; pass < passes; ++pass) {
            for (const Weight& weight : weights_) backend_.run(Linear{.x = x_, .weight = weight, .out = out_});
        }
        backend_.wait();
        const auto bytes = static_cast<double>(weight_bytes(weights_[0]) * weights_.size());
        return bytes * passes / watch.seconds();
    }

  private:
    Backend& backend_;
    std::vector<Weight> weights_;
    Tensor x_, out_;
};

struct Speeds {
    double kernel = 0, bare = 0;
};

std::vector<Weight> weights_of(Backend& backend, const WeightFormat& format, int64_t rows, uint64_t bytes, bool tiled) {
    std::vector<Weight> weights;
    do {
        weights.push_back(random_weight(backend, format, rows, kSide));
        weights.back().tiled = tiled;
    } while (weights.size() * weight_bytes(weights[0]) < bytes);
    return weights;
}

Speeds from_memory(const WeightFormat& format, size_t threads, bool tiled) {
    const auto backend = make_cpu_backend({.threads = threads});
    ThreadPool pool(threads);
    const Reader reader(*backend, weights_of(*backend, format, kSide, kMemoryBytes, tiled));
    Speeds best;
    for (int round = 0; round < kRounds; ++round) {
        best.bare = std::max(best.bare, measure_memory_bandwidth(pool, kMemoryBytes));
        best.kernel = std::max(best.kernel, reader.speed(1));
    }
    return best;
}

double cached(const WeightFormat& format, bool tiled) {
    constexpr int kPasses = 200;
    const auto backend = make_cpu_backend({.threads = 1});
    const Reader reader(*backend, weights_of(*backend, format, kCachedRows, 0, tiled));
    double best = 0;
    for (int round = 0; round < kRounds; ++round) best = std::max(best, reader.speed(kPasses));
    return best;
}

void print_row(const WeightFormat& format, bool tiled) {
    std::string line =
        fmt::format("| {} | {} | {:.1f} |", format.describe(), tiled ? "tiles" : "rows", cached(format, tiled) / 1e9);
    for (const size_t threads : {size_t{1}, available_cores()}) {
        const Speeds speeds = from_memory(format, threads, tiled);
        line += fmt::format(" {:.1f} of {:.1f} | {:.0f} % |", speeds.kernel / 1e9, speeds.bare / 1e9,
                            100 * speeds.kernel / speeds.bare);
    }
    fmt::print("{}\n", line);
    std::fflush(stdout);
}

}  // namespace

void print_format_reads(const char* wanted) {
    fmt::print("| format | layout | cached, GB/s | one thread, GB/s | of it | {} threads, GB/s | of it |\n",
               available_cores());
    fmt::print("|---|---|---|---|---|---|---|\n");
    const auto backend = make_cpu_backend({});
    for (const WeightFormat& format : all_formats()) {
        if (format.describe().find(wanted) == std::string::npos) continue;
        print_row(format, false);
        if (backend->reads_tiles(format)) print_row(format, true);
    }
}

}  // namespace sluice::bench
