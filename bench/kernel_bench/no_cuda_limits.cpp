#include "bench/kernel_bench/limits.h"

namespace sluice::bench {

Limits cuda_limits(Backend&) {
    return {};
}

}  // namespace sluice::bench
