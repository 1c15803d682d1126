#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "checkpoint/ngram_hash.h"

namespace sluice {

struct Architecture;

struct RotaryConfig {
    int64_t dims = 0;  // rotated dims of a head; even; 0: none
    double theta = 10000.0;
    bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + dims/2)
    bool yarn = false;
    double factor = 1.0;  // the rest only where yarn
    double beta_fast = 32.0;
    double beta_slow = 1.0;
    double mscale = 1.0;
    double mscale_all_dim = 0.0;
    bool truncate = true;  // the ramp between the two begins and ends at whole pairs
    int64_t original_positions = 0;
    // Llama-3's scaling, where the second is not 0: wavelengths are stretched by `factor` where they turn fewer than
    // this many times over the original positions, and not where they turn more often than that.
    double low_frequency_factor = 0;
    double high_frequency_factor = 0;
    int64_t still_dims = 0;            // of `dims`, pairs at the end that do not turn
    std::vector<float> divisors = {};  // of the pairs' frequencies, behind all else; empty: none

    bool operator==(const RotaryConfig&) const = default;
};

// ---- what moves information between tokens

enum class QueryKeyNorm : uint8_t {
    kNone,
    kPerHead,          // one weight of head_dim for all heads
    kWholeProjection,  // one mean and one weight over all heads together
    kUnit,             // per head, without a weight
};

// What a head's value is made from.
enum class ValueForm : uint8_t {
    kProjection,
    kUnit,     // the projection, normed per head without a weight
    kUnitKey,  // the key as projected, normed so
};

// With so many positions more the query is multiplied by 1 + factor * ln(1 + (position + 1) / interval), in whole
// intervals; factor 0: not.
struct TemperatureConfig {
    double factor = 0;
    double interval = 1;

    bool operator==(const TemperatureConfig&) const = default;
};

// Chooses which tokens attention sees, by scores of its own heads over a cache of its own keys.
struct IndexerConfig {
    int64_t heads = 0;
    int64_t head_dim = 0;
    int64_t tokens = 0;        // that a query sees at most, in whole pools; 0: there is no indexer, it sees all
    bool interleaved = false;  // of its rotation, which has the frequencies of attention's
    bool shared = false;       // the choice of the layer before stands here, too
    // Tokens that share a key. A query sees those of an open pool anyway.
    int64_t pool = 1;

    bool own() const { return tokens > 0 && !shared; }
    int64_t most_seen() const { return tokens == 0 ? 0 : tokens + pool - 1; }

    bool operator==(const IndexerConfig&) const = default;
};

struct GroupedAttentionConfig {
    int64_t heads = 0;
    int64_t kv_heads = 0;
    int64_t head_dim = 0;
    int64_t value_dim = 0;  // of a head's value; 0: head_dim
    RotaryConfig rotary{};
    QueryKeyNorm query_key_norm = QueryKeyNorm::kPerHead;
    bool gated = false;  // the query projection holds [query | gate] per head
    bool head_gates =
        false;           // what a head gives is multiplied by the sigmoid of a number that one more projection makes
    bool sinks = false;  // a learned logit per head that takes part in the softmax and has no value
    bool query_key_value_bias = false;
    bool output_bias = false;
    int64_t window = 0;           // a token sees this many, itself included; 0: all
    int64_t chunk = 0;            // a token sees those of its own run of this many; 0: all
    double projection_clamp = 0;  // query, key and value are cut to this magnitude after the norm; 0: not
    double score_scale = 0;       // of query times key; 0: 1 / sqrt(head_dim)
    double value_scale = 1;
    ValueForm value = ValueForm::kProjection;
    TemperatureConfig temperature{};
    IndexerConfig indexer{};  // its keys are means of a block's projections, normed and rotated then

    int64_t value_size() const { return value_dim == 0 ? head_dim : value_dim; }

    bool operator==(const GroupedAttentionConfig&) const = default;
};

// Multi-head latent attention.
struct LatentAttentionConfig {
    int64_t heads = 0;
    int64_t query_rank = 0;  // 0: a single query projection
    int64_t key_value_rank = 0;
    int64_t nope_dim = 0;  // of a head's query and key, not rotated
    int64_t rope_dim = 0;  // of a head's query, and of the key that all heads share; rotated
    int64_t value_dim = 0;
    double norm_epsilon = 1e-6;  // of the latents; the model's does not count
    RotaryConfig rotary{};
    IndexerConfig indexer{};
    bool projection_bias = false;  // of what reads hidden channels into latents, and of the output
    bool split_key_value = false;  // how this checkpoint stores the projection from the latent: in two tensors

    bool operator==(const LatentAttentionConfig&) const = default;
};

// Attention whose keys are its values, one head of them: of the last tokens, and where there is a ratio of runs of
// tokens, whose keys are learned means of their tokens'.
struct CompressedAttentionConfig {
    int64_t heads = 0;
    int64_t head_dim = 0;
    int64_t query_rank = 0;
    RotaryConfig rotary{};  // of the last dims of a head, and back in what a head gives
    int64_t window = 0;
    int64_t ratio = 0;          // tokens of a run; 0: there are none
    bool overlapping = false;   // a run's key is of the tokens of the run before, too
    IndexerConfig indexer{};    // `tokens` are the runs that a query sees at most
    int64_t output_groups = 0;  // of heads, each of which has a projection to so many channels before the output
    int64_t output_rank = 0;

    int64_t width() const { return heads * head_dim; }
    int64_t series() const { return overlapping ? 2 : 1; }  // of keys that a token has for its runs

    bool operator==(const CompressedAttentionConfig&) const = default;
};

struct GatedDeltaNetConfig {
    int64_t key_heads = 0;
    int64_t value_heads = 0;
    int64_t key_dim = 0;
    int64_t value_dim = 0;
    int64_t kernel = 0;              // taps of the convolution
    bool tiled_value_heads = false;  // value head h uses key head h % key_heads; otherwise neighbours share one
    // Query, key and value have a projection and a convolution each, as in Kimi Delta Attention.
    bool separate_projections = false;
    int64_t decay_rank = 0;  // not 0: every channel of a key has a decay, made through so many channels
    double decay_bound = 0;  // of the logarithm of a decay; 0: none
    int64_t gate_rank = 0;   // not 0: the output gate is made through so many channels
    bool sigmoid_gate = false;
    // How this checkpoint stores the projections: both fused, interleaved by key head; or those of the gates alone.
    bool fused_projections = false;
    bool fused_gates = false;
    bool stored_decay = false;  // -exp(A_log) instead of A_log

    int64_t key_width() const { return key_heads * key_dim; }
    int64_t value_width() const { return value_heads * value_dim; }
    int64_t channels() const { return 2 * key_width() + value_width(); }  // of the convolution
    int64_t decay_width() const { return decay_rank == 0 ? value_heads : value_heads * key_dim; }

    bool operator==(const GatedDeltaNetConfig&) const = default;
};

// Mamba-2: a convolution over x, B and C, a recurrence whose groups of heads share B and C, a gated norm per group.
struct SelectiveScanConfig {
    int64_t heads = 0;
    int64_t head_dim = 0;
    int64_t groups = 0;
    int64_t state_dim = 0;
    int64_t kernel = 0;  // taps of the convolution
    bool convolution_bias = false;

    int64_t inner() const { return heads * head_dim; }
    int64_t channels() const { return inner() + 2 * groups * state_dim; }  // of the convolution

    bool operator==(const SelectiveScanConfig&) const = default;
};

// Of a layer that is a feed-forward block alone, and of one that is a mixer alone.
struct NoMixer {
    bool operator==(const NoMixer&) const = default;
};
struct NoFeedForward {
    bool operator==(const NoFeedForward&) const = default;
};

using MixerConfig = std::variant<GroupedAttentionConfig, LatentAttentionConfig, CompressedAttentionConfig,
                                 GatedDeltaNetConfig, SelectiveScanConfig, NoMixer>;

// ---- what works on each token alone

// How gate and up become what down reads: with SiLU gate * sigmoid(alpha * gate) * (up + up_offset). With squared ReLU
// there is no gate.
struct ActivationConfig {
    enum class Kind : uint8_t { kSilu, kGeluTanh, kSquaredRelu } kind = Kind::kSilu;
    double limit = 0;          // first gate is cut above it, up on both sides; 0: not
    bool limit_after = false;  // not gate is cut but silu(gate)
    double alpha = 1;
    double up_offset = 0;

    bool plain() const { return limit == 0 && alpha == 1 && up_offset == 0; }
    bool gated() const { return kind != Kind::kSquaredRelu; }

    bool operator==(const ActivationConfig&) const = default;
};

struct DenseMlpConfig {
    int64_t intermediate = 0;
    ActivationConfig activation{};
    bool bias = false;  // of gate, up and down

    bool operator==(const DenseMlpConfig&) const = default;
};

// How the router's logits become experts and their weights.
struct Routing {
    enum class Score : uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus } score = Score::kSoftmax;
    bool corrected = false;  // chosen by the score plus a correction per expert, weighed by the score alone
    bool by_token = false;   // a table names the experts of each token of the vocabulary; scores weigh them
    int64_t groups = 1;      // experts are chosen in the best groups alone
    int64_t groups_kept = 1;
    bool normalize = true;  // weights are divided by their sum
    double scale = 1.0;     // and multiplied by this

    bool operator==(const Routing&) const = default;
};

struct MixtureConfig {
    int64_t experts = 0;
    int64_t experts_per_token = 0;
    int64_t intermediate = 0;  // of an expert
    Routing routing{};
    ActivationConfig activation{};
    bool router_bias = false;         // part of the logits; a correction is none
    bool expert_bias = false;         // of gate, up and down of each routed expert
    bool fused_expert_bias = false;   // how this checkpoint stores those of gate and up: in one tensor
    int64_t shared_intermediate = 0;  // 0: no shared expert
    std::optional<ActivationConfig> shared_activation{};  // none: that of routed experts
    bool shared_expert_gated = false;                     // its output times the sigmoid of one more projection
    bool own_norms = false;  // router and routed experts read the residual through norms of their own, and what routed
                             // and shared experts give is normed before it is added up
    bool expert_scale = false;   // an expert's weight is multiplied by a learned factor, too
    bool weighed_input = false;  // the weight multiplies what an expert reads, not what it gives
    int64_t latent = 0;          // what routed experts read and give, between two projections; 0: of the hidden size

    // Of what routed experts read and give, in a model of that hidden size.
    int64_t width(int64_t hidden) const { return latent > 0 ? latent : hidden; }

    bool operator==(const MixtureConfig&) const = default;
};

using FeedForwardConfig = std::variant<DenseMlpConfig, MixtureConfig, NoFeedForward>;

// ---- the model

struct LayerNorms {
    bool before = true;  // of what a block reads
    bool after = false;  // of what it adds

    bool operator==(const LayerNorms&) const = default;
};

// Adds to all streams of the residual, before the mixer reads them, what rows of a table say of the last tokens: which
// rows, a hash of the tokens says. The table is read from the drive row by row.
struct NGramConfig {
    NGramHash hash;       // of a layer that has none it has no heads
    int64_t row_dim = 0;  // values of a row
    int64_t kernel = 0;   // taps of the convolution, `hash.longest()` tokens apart
    int64_t parts = 0;    // tensors that publishers store the table in
    int64_t table_rows = 0;
    // What this checkpoint stores of the hash, instead of leaving it to the config.
    bool stored_multipliers = false, stored_head_rows = false, stored_head_offsets = false;

    bool any() const { return hash.heads() > 0; }
    int64_t width() const { return hash.heads() * row_dim; }  // of a token's rows

    bool operator==(const NGramConfig&) const = default;
};

struct LayerConfig {
    NGramConfig ngrams{};
    MixerConfig mixer;
    FeedForwardConfig feed_forward;
    LayerNorms norms{};
    bool scaled = false;  // the whole residual is multiplied by a learned factor after the layer

    bool mixes() const { return !std::holds_alternative<NoMixer>(mixer); }
    bool feeds_forward() const { return !std::holds_alternative<NoFeedForward>(feed_forward); }

    bool operator==(const LayerConfig&) const = default;
};

// h + block(h).
struct PlainResidual {
    static constexpr int64_t streams = 1;

    bool operator==(const PlainResidual&) const = default;
};

// Several streams. A block reads a weighed sum of them; behind it each is a weighed sum of all, with weights whose
// columns add up to 1, and a share of what the block computed. Weights follow from the streams of the token.
struct HyperConnectionConfig {
    int64_t streams = 0;
    int64_t rounds = 0;        // of dividing rows and columns by their sums
    double epsilon = 0;        // of weights and sums
    bool learned_end = false;  // the head reads a weighed sum, too; otherwise the mean

    int64_t coefficients() const { return (2 + streams) * streams; }  // of a block

    bool operator==(const HyperConnectionConfig&) const = default;
};

// Several streams. A block reads the mean of all, each normed and times a gate for every channel, which is made through
// a few channels; what it computes is added to each by a gate of the stream. The head reads them so, too.
struct GatedStreamsConfig {
    int64_t streams = 0;
    int64_t rank = 0;

    bool operator==(const GatedStreamsConfig&) const = default;
};

using ResidualConfig = std::variant<PlainResidual, HyperConnectionConfig, GatedStreamsConfig>;

// Everything the forward pass needs to know from config.json, checked. Sizes are element counts.
struct ModelConfig {
    const Architecture* architecture = nullptr;
    std::string model_type;  // as published
    int64_t hidden_size = 0;
    int64_t vocabulary = 0;
    int64_t max_positions = 0;
    double rms_norm_epsilon = 1e-6;
    bool tied_embeddings = false;
    double embedding_scale = 1.0;  // of an embedding when it is looked up
    bool final_norm = true;        // what the head reads is normed
    double logit_cap = 0.0;        // logits become cap * tanh(logits / cap); 0: as they are
    ResidualConfig residual{};
    std::vector<LayerConfig> layers;

    int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
    // Of the residual.
    int64_t streams() const;
    // Null for a layer that has no experts.
    const MixtureConfig* mixture_of(int64_t layer) const;
    // Of the first layer that has experts; all others have as many. 0: none has.
    int64_t experts() const;
    int64_t experts_per_token() const;
};

// The block of a kind in a layer; null where the layer has another.
template <class Block, class Layer>
auto* block_of(Layer& layer) {
    if constexpr (std::is_constructible_v<MixerConfig, Block>) {
        return std::get_if<Block>(&layer.mixer);
    } else {
        return std::get_if<Block>(&layer.feed_forward);
    }
}

// The first block of a kind; null where there is none.
template <class Block>
const Block* first_block(const ModelConfig& config) {
    for (const LayerConfig& layer : config.layers) {
        if (const Block* block = block_of<Block>(layer)) return block;
    }
    return nullptr;
}

// Calls `change` with every block of a kind.
template <class Block, class Change>
void change_blocks(ModelConfig& config, Change&& change) {
    for (LayerConfig& layer : config.layers) {
        if (Block* block = block_of<Block>(layer)) change(*block);
    }
}

// Reads and checks `folder`/config.json. Throws kNotFound, kInvalidFile or kUnsupported, naming file and field.
ModelConfig read_model_config(const std::filesystem::path& folder);
// The same from the file's text; `label` names it in messages.
ModelConfig parse_model_config(std::string_view text, const std::string& label);

}  // namespace sluice
