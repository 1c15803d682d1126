#include "experts/read_depth.h"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/start_thread.h"

namespace sluice {

namespace {

// Bytes per second of `depth` threads that read at random pages of one file; 0 when a read fails or a thread does not
// start.
double speed_at(const File& file, size_t depth, uint64_t read_bytes, double seconds) {
    std::atomic<uint64_t> total{0};
    std::atomic<bool> failed{false};
    const Stopwatch watch;
    const auto read = [&](size_t i) {
        try {
            std::mt19937_64 random(i * 7919 + depth);
            const PageMemory buffer(read_bytes);
            const uint64_t places = (file.size() - read_bytes) / kPageBytes + 1;
            while (watch.seconds() < seconds) {
                total += file.read_up_to(random() % places * kPageBytes, {buffer.data(), read_bytes});
            }
        } catch (const std::exception&) {
            failed = true;
        }
    };
    std::vector<std::thread> threads;
    threads.reserve(depth);
    for (size_t i = 0; i < depth && !failed; ++i) {
        try {
            threads.push_back(start_thread([&read, i] { read(i); }));
        } catch (const Error&) {
            failed = true;  // fewer threads will have to do
        }
    }
    for (auto& thread : threads) thread.join();
    return failed ? 0 : static_cast<double>(total) / watch.seconds();
}

}  // namespace

size_t measure_read_depth(const ReaderFiles& files, uint64_t record_bytes) {
    constexpr double kGain = 1.07;  // less than this is noise, not a reason for more threads
    constexpr double kSeconds = 0.05;
    const File* largest = &files[0];
    for (uint32_t i = 1; i < files.size(); ++i) {
        if (files[i].size() > largest->size()) largest = &files[i];
    }
    const uint64_t read_bytes = std::clamp<uint64_t>(round_up(record_bytes, kPageBytes), kPageBytes, 4 << 20);
    if (largest->size() < 64 * read_bytes) return kLeastDepth;
    size_t best_depth = kLeastDepth;
    double best = 0;
    for (const size_t depth : {kLeastDepth, 2 * kLeastDepth, 4 * kLeastDepth}) {
        const double speed = speed_at(*largest, depth, read_bytes, kSeconds);
        if (speed > best * kGain) {
            best = speed;
            best_depth = depth;
        } else {
            break;
        }
    }
    return best_depth;
}

}  // namespace sluice
