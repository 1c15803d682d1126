#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "model/batch.h"
#include "model/block_output.h"
#include "model/rotary_table.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// The part of a layer that moves information between tokens.
class Mixer {
  public:
    virtual ~Mixer() = default;
    virtual std::vector<StatePart> state_parts() const = 0;
    // out = mix(x) or out += mix(x); x [rows, hidden] is normed already. The state of every sequence moves on by its
    // rows.
    virtual void run(Backend& backend, const Batch& batch, const Tensor& x, const BlockOutput& out,
                     Workspace& workspace) const = 0;
    // Takes what run() takes, for sizing.
    virtual void take_scratch(int64_t rows, Workspace& workspace) const = 0;
    // Whether run() of a step over one new token each is the same operations whatever the positions are, and nothing
    // else.
    virtual bool repeats() const { return true; }
    // Whether run() leaves the state of a sequence as it is where it is to put the next one elsewhere: what is kept of
    // fixed shape goes through operations that take two slots.
    virtual bool replaces_states() const {
        return std::ranges::all_of(state_parts(), [](const StatePart& part) { return part.grows(); });
    }
    // Beside the workspace: what all threads take for a prompt's attention over `tokens`, bytes.
    virtual uint64_t context_scratch_bytes(int64_t tokens, size_t threads) const {
        (void)tokens, (void)threads;
        return 0;
    }
};

// What every mixer is made with.
struct MixerContext {
    int layer = 0;
    float epsilon = 0;  // of its norms
    KvFormat kv_format = KvFormat::kF32;
};

// Grouped-query attention; with norms of query and key and an output gate where the config says so.
std::unique_ptr<Mixer> make_mixer(const GroupedAttentionConfig& config, const MixerContext& context, Trunk& trunk);
// Multi-head latent attention.
std::unique_ptr<Mixer> make_mixer(const LatentAttentionConfig& config, const MixerContext& context, Trunk& trunk);
// Attention over a window and over keys of runs of tokens.
std::unique_ptr<Mixer> make_mixer(const CompressedAttentionConfig& config, const MixerContext& context, Trunk& trunk);
// Gated DeltaNet: causal convolution, gated delta rule, gated norm.
std::unique_ptr<Mixer> make_mixer(const GatedDeltaNetConfig& config, const MixerContext& context, Trunk& trunk);
// Mamba-2: causal convolution, recurrence, norm of what a gate let through.
std::unique_ptr<Mixer> make_mixer(const SelectiveScanConfig& config, const MixerContext& context, Trunk& trunk);
// Null.
std::unique_ptr<Mixer> make_mixer(const NoMixer& config, const MixerContext& context, Trunk& trunk);

}  // namespace sluice
