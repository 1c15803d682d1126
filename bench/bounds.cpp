#include "bench/bounds.h"

#include <map>

#include "base/machine_speed.h"
#include "base/thread_pool.h"

namespace sluice::bench {

namespace {

double peak_of_one_thread(ArithmeticPeak (*measure)(ThreadPool& pool)) {
    ThreadPool pool(1);
    return measure(pool).operations_per_second;
}

}  // namespace

double read_bytes_per_second(size_t threads) {
    static std::map<size_t, double> measured;
    const auto [place, added] = measured.try_emplace(threads, 0);
    if (added) {
        ThreadPool pool(threads);
        place->second = measure_memory_bandwidth(pool);
    }
    return place->second;
}

double int8_ops_per_second() {
    static const double measured = peak_of_one_thread(measure_int8_peak);
    return measured;
}

double bf16_ops_per_second() {
    static const double measured = peak_of_one_thread(measure_bf16_peak);
    return measured;
}

double float_ops_per_second() {
    static const double measured = peak_of_one_thread(measure_float_peak);
    return measured;
}

}  // namespace sluice::bench
