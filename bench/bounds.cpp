#include "bench/bounds.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>

#include "backend/cpu/cpu_features.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread_pool.h"

namespace sluice::bench {

#if defined(__x86_64__)
// In peak_avx512vnni.cpp.
void int8_rounds(size_t rounds);
void float_rounds(size_t rounds);
uint64_t read_all(const std::byte* data, size_t bytes);
// In peak_avx512bf16.cpp.
void bf16_rounds(size_t rounds);
constexpr double kInt8OpsPerRound = 16 * 64 * 2;
constexpr double kBf16OpsPerRound = 16 * 32 * 2;
constexpr double kFloatOpsPerRound = 16 * 16 * 2;
#endif

namespace {

constexpr size_t kReadBytes = size_t{512} << 20;
constexpr int kTries = 7;

template <typename Function>
double best_seconds(Function&& function) {
    double best = 1e30;
    for (int i = 0; i < kTries; ++i) {
        const Stopwatch watch;
        function();
        best = std::min(best, watch.seconds());
    }
    return best;
}

uint64_t sum_words(const std::byte* data, size_t bytes) {
#if defined(__x86_64__)
    if (processor_has(InstructionSet::kAvx512VnniNoVbmi)) return read_all(data, bytes);
#endif
    uint64_t sums[8] = {};
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        uint64_t words[8];
        std::memcpy(words, data + i, sizeof words);
        for (size_t k = 0; k < 8; ++k) sums[k] += words[k];
    }
    uint64_t sum = 0;
    for (const uint64_t part : sums) sum += part;
    return sum;
}

double measure_read(size_t threads) {
    ThreadPool pool(threads);
    const PageMemory memory(kReadBytes);
    std::memset(memory.data(), 1, memory.size());
    volatile uint64_t sink = 0;
    constexpr size_t kPiece = size_t{1} << 20;
    const double seconds = best_seconds([&] {
        pool.parallel_for(memory.size() / kPiece, 1, [&](size_t begin, size_t end) {
            const uint64_t sum = sum_words(memory.data() + begin * kPiece, (end - begin) * kPiece);
            if (sum == 0) sink = sum;
        });
    });
    return static_cast<double>(kReadBytes) / seconds;
}

#if defined(__x86_64__)
// `kernel` runs rounds of products that wait for nothing.
double ops_per_second(bool measurable, double ops_per_round, void (*kernel)(size_t rounds)) {
    constexpr size_t kRounds = 1'000'000;
    return measurable ? kRounds * ops_per_round / best_seconds([&] { kernel(kRounds); }) : 0;
}
#endif

}  // namespace

double read_bytes_per_second(size_t threads) {
    static std::map<size_t, double> measured;
    const auto [place, added] = measured.try_emplace(threads, 0);
    if (added) place->second = measure_read(threads);
    return place->second;
}

#if defined(__x86_64__)
double int8_ops_per_second() {
    static const double measured =
        ops_per_second(processor_has(InstructionSet::kAvx512VnniNoVbmi), kInt8OpsPerRound, int8_rounds);
    return measured;
}

double bf16_ops_per_second() {
    static const double measured =
        ops_per_second(select_kernels(InstructionSet::kAuto).bf16 != nullptr, kBf16OpsPerRound, bf16_rounds);
    return measured;
}

double float_ops_per_second() {
    static const double measured =
        ops_per_second(processor_has(InstructionSet::kAvx512VnniNoVbmi), kFloatOpsPerRound, float_rounds);
    return measured;
}
#else
double int8_ops_per_second() {
    return 0;
}
double bf16_ops_per_second() {
    return 0;
}
double float_ops_per_second() {
    return 0;
}
#endif

}  // namespace sluice::bench
