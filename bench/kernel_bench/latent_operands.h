#pragma once

// Operands of latent attention at the sizes of a model.

#include "bench/kernel_bench/cases.h"

namespace sluice::bench {

struct LatentStep {
    int64_t rows, tokens;  // new ones, and all with them
};

Sequences one_sequence(Backend& backend, int64_t rows, int64_t position);
// Random latents and keys in pages that lie backwards.
PagedCache random_latents(Backend& backend, const Shapes& shapes, int64_t tokens);
// kv_b_proj in 4 bits.
Weight latent_weight(Backend& backend, const Shapes& shapes);
LatentAttention latent_attention(Backend& backend, const Shapes& shapes, const LatentStep& step);
// Operations that its products with the weight take, for each row; and those for each token that a row sees.
double latent_row_flops(const Shapes& shapes);
double latent_pair_flops(const Shapes& shapes);

}  // namespace sluice::bench
