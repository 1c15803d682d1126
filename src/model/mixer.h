#pragma once

#include <memory>

#include "model/batch.h"
#include "model/rotary_table.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// The part of a layer that moves information between tokens.
class Mixer {
  public:
    virtual ~Mixer() = default;
    virtual StateSpec state_spec() const = 0;
    // residual += mix(x); x [rows, hidden] is normed already. The state of every sequence moves on by its rows.
    virtual void run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& residual,
                     Workspace& workspace) const = 0;
    // Takes what run() takes, for sizing.
    virtual void take_scratch(int64_t rows, Workspace& workspace) const = 0;
};

// Grouped-query attention with q and k norms; with an output gate where the config says so.
std::unique_ptr<Mixer> make_grouped_attention(const ModelConfig& config, int layer, KvFormat kv_format, Trunk& trunk);
// Gated DeltaNet: causal convolution, gated delta rule, gated norm.
std::unique_ptr<Mixer> make_gated_delta_net(const ModelConfig& config, int layer, Trunk& trunk);
// Multi-head latent attention in its folded form.
std::unique_ptr<Mixer> make_latent_attention(const ModelConfig& config, int layer, KvFormat kv_format, Trunk& trunk);

}  // namespace sluice
