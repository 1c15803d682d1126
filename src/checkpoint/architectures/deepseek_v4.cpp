// DeepSeek-V4-Flash and -Pro: attention over a window and over compressed runs of tokens, whose keys are values, too;
// hyper-connections around every block; experts of the first layers by token.

#include <vector>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v4"};

constexpr NameRule kNames[] = {
    {Role::kEmbedding, "embed"},
    {Role::kHead, "head"},
    {Role::kMixerNorm, "attn_norm"},
    {Role::kFeedForwardNorm, "ffn_norm"},
    {Role::kQueryLatent, "attn.wq_a"},
    {Role::kQueryLatentNorm, "attn.q_norm"},
    {Role::kQueryFromLatent, "attn.wq_b"},
    {Role::kSharedKey, "attn.wkv"},
    {Role::kSharedKeyNorm, "attn.kv_norm"},
    {Role::kSinks, "attn.attn_sink", true},
    {Role::kOutputGroups, "attn.wo_a"},
    {Role::kOutput, "attn.wo_b"},
    {Role::kRunKey, "attn.compressor.wkv"},
    {Role::kRunGate, "attn.compressor.wgate"},
    {Role::kRunOffsets, "attn.compressor.ape", true},
    {Role::kRunNorm, "attn.compressor.norm"},
    {Role::kIndexQuery, "attn.indexer.wq_b"},
    {Role::kIndexWeights, "attn.indexer.weights_proj"},
    {Role::kIndexRunKey, "attn.indexer.compressor.wkv"},
    {Role::kIndexRunGate, "attn.indexer.compressor.wgate"},
    {Role::kIndexRunOffsets, "attn.indexer.compressor.ape", true},
    {Role::kIndexRunNorm, "attn.indexer.compressor.norm"},
    {Role::kRouter, "ffn.gate"},
    {Role::kRouterCorrection, "ffn.gate.bias", true},
    {Role::kRouterTable, "ffn.gate.tid2eid", true},
    {Role::kSharedGate, "ffn.shared_experts.w1"},
    {Role::kSharedUp, "ffn.shared_experts.w3"},
    {Role::kSharedDown, "ffn.shared_experts.w2"},
};

// Tokens of a run: of the second kind an indexer chooses which runs are seen, and runs overlap.
constexpr int64_t kNoRuns = 0, kShortRun = 4, kLongRun = 128;

CompressedAttentionConfig read_heads(const JsonFields& fields) {
    constexpr int64_t kDefaultWindow = 128;
    CompressedAttentionConfig attention;
    attention.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    attention.head_dim = fields.integer("head_dim", 2, kLargestSize);
    attention.query_rank = fields.integer("q_lora_rank", 1, kLargestSize);
    attention.window = fields.integer_or("sliding_window", kDefaultWindow, 1, kLargestSize);
    attention.output_groups = fields.integer("o_groups", 1, attention.heads);
    attention.output_rank = fields.integer("o_lora_rank", 1, kLargestSize);
    if (fields.integer_or("num_key_value_heads", 1, 1, kLargestSize) != 1) {
        fields.reject(ErrorCode::kUnsupported, "num_key_value_heads", "only 1 is supported");
    }
    if (attention.heads % attention.output_groups != 0) {
        fields.reject(ErrorCode::kInvalidFile, "o_groups", "{} does not divide num_attention_heads {}",
                      attention.output_groups, attention.heads);
    }
    return attention;
}

// A layer without runs has neither YaRN nor the large theta.
struct Rotations {
    RotaryConfig plain, of_runs;
};

Rotations read_rotations(const JsonFields& fields, const CompressedAttentionConfig& attention, int64_t max_positions) {
    constexpr std::string_view kDims = "qk_rope_head_dim", kTheta = "compress_rope_theta";
    const int64_t dims = fields.integer(kDims, 2, attention.head_dim);
    if (dims % 2 != 0) fields.reject(ErrorCode::kInvalidFile, kDims, "{} is odd", dims);
    Rotations rotations;
    rotations.of_runs = read_rotary(fields, dims, max_positions);
    rotations.of_runs.interleaved = true;
    rotations.plain = {.dims = dims, .theta = rotations.of_runs.theta, .interleaved = true};
    rotations.of_runs.theta = fields.number(kTheta);
    rotations.of_runs.mscale = rotations.of_runs.mscale_all_dim = 0;  // cos and sin are as they are
    if (rotations.of_runs.theta <= 1) {
        fields.reject(ErrorCode::kInvalidFile, kTheta, "{} is not above 1", rotations.of_runs.theta);
    }
    return rotations;
}

// One more entry than layers is of multi-token prediction.
std::vector<int64_t> read_ratios(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kName = "compress_ratios";
    std::vector<int64_t> ratios = fields.integers(kName);
    if (ratios.size() < config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, kName, "{} entries, but num_hidden_layers is {}", ratios.size(),
                      config.layers.size());
    }
    ratios.resize(config.layers.size());
    for (const int64_t ratio : ratios) {
        if (ratio == kNoRuns || ratio == kShortRun || ratio == kLongRun) continue;
        fields.reject(ErrorCode::kUnsupported, kName, "{} is not supported, only 0, 4 and 128", ratio);
    }
    return ratios;
}

void read_mixers(const JsonFields& fields, ModelConfig& config) {
    CompressedAttentionConfig attention = read_heads(fields);
    const Rotations rotations = read_rotations(fields, attention, config.max_positions);
    const std::vector<int64_t> ratios = read_ratios(fields, config);
    for (size_t layer = 0; layer < ratios.size(); ++layer) {
        attention.ratio = ratios[layer];
        attention.overlapping = attention.ratio == kShortRun;
        attention.rotary = attention.ratio == kNoRuns ? rotations.plain : rotations.of_runs;
        attention.indexer = attention.overlapping ? read_index_heads(fields, attention.rotary.dims) : IndexerConfig{};
        config.layers[layer].mixer = attention;
    }
}

void read_feed_forwards(const JsonFields& fields, ModelConfig& config) {
    constexpr double kDefaultLimit = 10, kDefaultScale = 1.5;
    constexpr int64_t kDefaultHashLayers = 3;
    require_string(fields, "hidden_act", {"silu"});
    MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    mixture.shared_intermediate = fields.integer_or("n_shared_experts", 1, 0, kMostExperts) * mixture.intermediate;
    mixture.activation.limit = fields.number_or("swiglu_limit", kDefaultLimit);
    if (mixture.activation.limit <= 0) {
        fields.reject(ErrorCode::kInvalidFile, "swiglu_limit", "{} is not above 0", mixture.activation.limit);
    }
    mixture.routing = {.score = Routing::Score::kSqrtSoftplus,
                       .scale = fields.number_or("routed_scaling_factor", kDefaultScale)};
    const int64_t by_token = fields.integer_or("num_hash_layers", kDefaultHashLayers, 0, kMostLayers);
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        mixture.routing.by_token = layer < by_token;
        mixture.routing.corrected = !mixture.routing.by_token;
        config.layers[static_cast<size_t>(layer)].feed_forward = mixture;
    }
}

void read_deepseek_v4(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "scoring_func", {"sqrtsoftplus"});
    require_string(fields, "topk_method", {"noaux_tc"});
    refuse_true(fields, "attention_bias");
    read_sizes(fields, config);
    HyperConnectionConfig residual = read_hyper_connections(fields);
    residual.learned_end = true;
    config.residual = residual;
    read_mixers(fields, config);
    read_feed_forwards(fields, config);
}

}  // namespace

extern constinit const Architecture deepseek_v4_architecture = {
    .name = "deepseek_v4",
    .model_types = kModelTypes,
    .read = read_deepseek_v4,
    .names = kNames,
    .experts = {.each = "ffn.experts.", .stacked = "ffn.switch_mlp.", .projections = {"w1", "w3", "w2"}},
    .unprefixed = true,
};

}  // namespace sluice
