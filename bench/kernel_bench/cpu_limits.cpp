#include "base/machine_speed.h"
#include "base/thread_pool.h"
#include "bench/kernel_bench/limits.h"

namespace sluice::bench {

Limits cpu_limits(Backend& backend) {
    ThreadPool pool(backend.threads());
    const ArithmeticPeak bf16 = measure_bf16_peak(pool), floats = measure_float_peak(pool);
    const bool wider = bf16.operations_per_second > floats.operations_per_second;
    const ArithmeticPeak& best = wider ? bf16 : floats;
    return {.read_bytes = measure_memory_bandwidth(pool),
            .flops = best.operations_per_second,
            .flops_by = best.instructions};
}

}  // namespace sluice::bench
