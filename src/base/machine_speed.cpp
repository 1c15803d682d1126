#include "base/machine_speed.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "base/amx_configuration.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/processor_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sluice {

namespace {

constexpr size_t kSmallestBuffer = size_t{16} << 20;
constexpr int kPasses = 5;  // the best of them: other processes only ever slow one down

// Results go here so that the compiler keeps the work.
std::atomic<uint64_t> sink{0};

// Four streams side by side: a processor follows one alone more slowly than memory gives. What is left of whole lines
// of each is not read.
uint64_t read_words(const std::byte* data, size_t bytes) {
    typedef uint64_t Words __attribute__((vector_size(16)));
    constexpr size_t kStreams = 4, kLineBytes = 64, kVectors = kLineBytes / sizeof(Words);
    const size_t part = bytes / kStreams / kLineBytes * kLineBytes;
    Words sums[kVectors] = {};
    for (size_t i = 0; i < part; i += kLineBytes) {
        for (size_t stream = 0; stream < kStreams; ++stream) {
            for (size_t j = 0; j < kVectors; ++j) {
                Words words;
                std::memcpy(&words, data + stream * part + i + j * sizeof words, sizeof words);
                sums[j] ^= words;
            }
        }
    }
    for (size_t j = 1; j < kVectors; ++j) sums[0] ^= sums[j];
    return sums[0][0] ^ sums[0][1];
}

// A kernel runs `rounds` rounds and returns something that depends on all of them.
struct Kernel {
    uint64_t (*run)(uint64_t rounds);
    double operations_per_round;
    const char* instructions;
};

uint64_t first_word(const void* data) {
    uint64_t word = 0;
    std::memcpy(&word, data, sizeof word);
    return word;
}

constexpr size_t kAccumulators = 12;  // enough independent chains to hide the latency of a multiply-add

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512bw,avx512vnni"))) uint64_t int8_avx512vnni(uint64_t rounds) {
    __m512i sums[kAccumulators];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+v"(a), "+v"(b));  // as if new data had been loaded
        for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    return first_word(sums);
}

constexpr double kAmxOperations = 4 * 2.0 * 16 * 16 * 64;  // of a round

__attribute__((target("amx-tile,amx-int8"))) uint64_t int8_amx(uint64_t rounds) {
    alignas(64) uint8_t bytes[16][64] = {{1, 2, 3}};
    _tile_loadconfig(&kAmxConfiguration);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, bytes, 64);
    _tile_loadd(5, bytes, 64);
    _tile_loadd(6, bytes, 64);
    _tile_loadd(7, bytes, 64);
    for (uint64_t i = 0; i < rounds; ++i) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, bytes, 64);
    _tile_release();
    return bytes[0][0];
}

__attribute__((target("avx2,avxvnni"))) uint64_t int8_avxvnni(uint64_t rounds) {
    __m256i sums[kAccumulators];
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+x"(a), "+x"(b));
        for (__m256i& sum : sums) sum = _mm256_dpbusd_avx_epi32(sum, a, b);
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm256_add_epi32(sums[0], sums[i]);
    return first_word(sums);
}

constexpr int kWordRun = 8;  // products of 4-bit codes that words hold

__attribute__((target("avx2"))) uint64_t int8_avx2(uint64_t rounds) {
    __m256i sums[kAccumulators];
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
    for (uint64_t i = 0; i < rounds; ++i) {
        for (__m256i& sum : sums) {
            __m256i words = _mm256_setzero_si256();
            for (int run = 0; run < kWordRun; ++run) {
                asm volatile("" : "+x"(a), "+x"(b), "+x"(words));
                words = _mm256_add_epi16(words, _mm256_maddubs_epi16(a, b));
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, ones));
        }
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm256_add_epi32(sums[0], sums[i]);
    return first_word(sums);
}

__attribute__((target("avx512f"))) uint64_t float_avx512(uint64_t rounds) {
    __m512 sums[kAccumulators];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    __m512 a = _mm512_set1_ps(1.0f), b = _mm512_set1_ps(1e-9f);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+v"(a), "+v"(b));
        for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return first_word(sums);
}

__attribute__((target("avx512f,avx512bf16"))) uint64_t bf16_avx512(uint64_t rounds) {
    __m512 sums[kAccumulators];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    __m512i a = _mm512_set1_epi16(0x3f80), b = a;
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+v"(a), "+v"(b));
        for (__m512& sum : sums)
            sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return first_word(sums);
}

__attribute__((target("avx2,fma"))) uint64_t float_avx2(uint64_t rounds) {
    __m256 sums[kAccumulators];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(1e-9f);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+x"(a), "+x"(b));
        for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
    }
    for (size_t i = 1; i < kAccumulators; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return first_word(sums);
}

#endif

// Plain loops that the compiler vectorizes for the portable baseline.
uint64_t int8_portable(uint64_t rounds) {
    std::array<int32_t, 64> sums{};
    std::array<int16_t, 64> a, b;
    a.fill(3);
    b.fill(5);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+m"(a), "+m"(b));
        for (size_t j = 0; j < sums.size(); ++j) sums[j] += a[j] * b[j];
    }
    return first_word(sums.data());
}

uint64_t float_portable(uint64_t rounds) {
    std::array<float, 64> sums{};
    std::array<float, 64> a, b;
    a.fill(1.0f);
    b.fill(1e-9f);
    for (uint64_t i = 0; i < rounds; ++i) {
        asm volatile("" : "+m"(a), "+m"(b));
        for (size_t j = 0; j < sums.size(); ++j) sums[j] += a[j] * b[j];
    }
    return first_word(sums.data());
}

Kernel int8_kernel() {
#if defined(__x86_64__)
    if (has_features(feature_bits({Feature::kAmxInt8}))) return {int8_amx, kAmxOperations, "AMX"};
    if (has_features(feature_bits({Feature::kAvx512Bw, Feature::kAvx512Vnni})))
        return {int8_avx512vnni, kAccumulators * 128.0, "AVX-512 VNNI"};
    if (has_features(feature_bits({Feature::kAvx2, Feature::kAvxVnni})))
        return {int8_avxvnni, kAccumulators * 64.0, "AVX-VNNI"};
    if (has_features(feature_bits({Feature::kAvx2}))) {
        return {int8_avx2, kAccumulators * kWordRun * 64.0, "AVX2"};
    }
#endif
    return {int8_portable, 128.0, "portable"};
}

Kernel float_kernel() {
#if defined(__x86_64__)
    if (has_features(feature_bits({Feature::kAvx512f}))) return {float_avx512, kAccumulators * 32.0, "AVX-512"};
    if (has_features(feature_bits({Feature::kAvx2, Feature::kFma}))) {
        return {float_avx2, kAccumulators * 16.0, "AVX2"};
    }
#endif
    return {float_portable, 128.0, "portable"};
}

// Without instructions of its own, BF16 is computed as float32.
Kernel bf16_kernel() {
#if defined(__x86_64__)
    if (has_features(feature_bits({Feature::kAvx512f, Feature::kAvx512Bf16})))
        return {bf16_avx512, kAccumulators * 64.0, "AVX-512 BF16"};
#endif
    return float_kernel();
}

ArithmeticPeak measure(ThreadPool& pool, const Kernel& kernel) {
    constexpr uint64_t kRounds = 1'000'000;
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
        const Stopwatch watch;
        pool.parallel_for(pool.threads(), 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) sink += kernel.run(kRounds);
        });
        const double operations = kernel.operations_per_round * kRounds * static_cast<double>(pool.threads());
        best = std::max(best, operations / watch.seconds());
    }
    return {best, kernel.instructions};
}

}  // namespace

double measure_memory_bandwidth(ThreadPool& pool, size_t most_bytes) {
    const size_t bytes = std::clamp<size_t>(available_memory_bytes() / 3, kSmallestBuffer, most_bytes);
    const PageMemory buffer(bytes);
    // Touched by the threads that read it: pages of zeros that were never written share one physical page.
    const size_t piece = round_up(bytes / pool.threads() / 8 + 1, kPageBytes);
    pool.parallel_for(bytes, piece,
                      [&](size_t begin, size_t end) { std::memset(buffer.data() + begin, 1, end - begin); });
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
        const Stopwatch watch;
        pool.parallel_for(bytes, piece,
                          [&](size_t begin, size_t end) { sink += read_words(buffer.data() + begin, end - begin); });
        best = std::max(best, static_cast<double>(bytes) / watch.seconds());
    }
    return best;
}

ArithmeticPeak measure_int8_peak(ThreadPool& pool) {
    return measure(pool, int8_kernel());
}

ArithmeticPeak measure_bf16_peak(ThreadPool& pool) {
    return measure(pool, bf16_kernel());
}

ArithmeticPeak measure_float_peak(ThreadPool& pool) {
    return measure(pool, float_kernel());
}

}  // namespace sluice
