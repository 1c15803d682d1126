#include "bench/kernel_bench/attention_variants.h"

namespace sluice::bench {

std::vector<AttentionVariant> attention_variants(Backend&, const Attention&) {
    return {};
}

}  // namespace sluice::bench
