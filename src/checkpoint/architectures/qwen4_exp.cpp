// Qwen3.8-Flash-Next: gated DeltaNet and attention over the best blocks of tokens, gated residual streams in place of
// norms, n-grams out of a table on the drive.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "checkpoint/architectures/qwen_hybrid.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen4_exp", "qwen4_exp_text"};

constexpr NameRule kOwnNames[] = {
    {Role::kEndStreamsNorm, "hyper_connection_mixer.hc_norm"},
    {Role::kEndStreamsDown, "hyper_connection_mixer.input_mix_weight_down"},
    {Role::kEndStreamsUp, "hyper_connection_mixer.input_mix_weight_up"},
    {Role::kMixerStreamsNorm, "attn_hyper_connection.hc_norm"},
    {Role::kMixerStreamsDown, "attn_hyper_connection.input_mix_weight_down"},
    {Role::kMixerStreamsUp, "attn_hyper_connection.input_mix_weight_up"},
    {Role::kMixerStreamsInject, "attn_hyper_connection.block_inject_weight"},
    {Role::kFeedForwardStreamsNorm, "mlp_hyper_connection.hc_norm"},
    {Role::kFeedForwardStreamsDown, "mlp_hyper_connection.input_mix_weight_down"},
    {Role::kFeedForwardStreamsUp, "mlp_hyper_connection.input_mix_weight_up"},
    {Role::kFeedForwardStreamsInject, "mlp_hyper_connection.block_inject_weight"},
    {Role::kNGramKey, "ple.key_proj"},
    {Role::kNGramValue, "ple.value_proj"},
    {Role::kNGramKeyNorm, "ple.norm_key"},
    {Role::kNGramQueryNorm, "ple.norm_query"},
    {Role::kNGramConvNorm, "ple.norm_conv"},
    {Role::kNGramConv, "ple.conv1d"},
    {Role::kNGramMultipliers, "ple.ple_embedding.layer_multipliers", true},
    {Role::kNGramHeadRows, "ple.ple_embedding.ngram_heads_vocab_sizes", true},
    {Role::kNGramHeadOffsets, "ple.ple_embedding.ngram_heads_offsets", true},
    {Role::kIndexQueryKey, "self_attn.indexer.index_qk_proj"},
    {Role::kIndexQueryNorm, "self_attn.indexer.q_layernorm"},
    {Role::kIndexKeyNorm, "self_attn.indexer.k_layernorm"},
};

constexpr auto kNames = [] {
    std::array<NameRule, std::size(kOwnNames) + std::size(kQwenHybridNames)> names{};
    std::ranges::copy(kQwenHybridNames, std::ranges::copy(kOwnNames, names.begin()).out);
    return names;
}();

constexpr int64_t kLargestTable = int64_t{1} << 34;  // rows

// The first of several ends the n-grams, too.
int64_t read_end_token(const JsonFields& fields) {
    constexpr std::string_view kName = "eos_token_id";
    constexpr int64_t kDefault = 248044;
    if (!fields.has(kName) || !fields.raw()[std::string(kName)].is_array()) {
        return fields.integer_or(kName, kDefault, 0, INT32_MAX);
    }
    const std::vector<int64_t> all = fields.integers(kName);
    if (all.empty() || all.front() < 0 || all.front() > INT32_MAX) {
        fields.reject(ErrorCode::kInvalidFile, kName, "its first is no token");
    }
    return all.front();
}

// `table` counts the layers that have n-grams.
NGramConfig read_ngrams(const JsonFields& fields, const ModelConfig& config, int64_t table) {
    NGramConfig ngrams;
    const int64_t longest = fields.integer_or("ngram_size", 3, 2, 16);
    const int64_t heads_per_order = fields.integer_or("heads_per_ngram", 8, 1, 64);
    const int64_t heads = (longest - 1) * heads_per_order;
    const int64_t width = fields.integer_or("ple_embed_dim", 2560, 1, kLargestSize);
    if (width % heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "ple_embed_dim", "{} is not divided by {} rows a token", width, heads);
    }
    const auto seed = static_cast<uint64_t>(fields.integer_or("seed", 1234, 0, INT64_MAX));
    const int64_t least = fields.integer_or("ngram_vocab_size_base", 20'000'000, 2, kLargestTable / heads);
    const int64_t multiple = fields.integer_or("make_ngram_vocab_size_divisible_by", 128, 1, kLargestSize);
    NGramHash& hash = ngrams.hash;
    hash.heads_per_order = heads_per_order;
    hash.end_token = read_end_token(fields);
    hash.multipliers = ngram_multipliers(config.vocabulary, longest, static_cast<uint64_t>(table), seed);
    hash.head_rows = primes_from(least, table * heads, heads);
    hash.head_offsets = offsets_of(hash.head_rows);
    ngrams.row_dim = width / heads;
    ngrams.kernel = fields.integer_or("ple_conv_kernel_size", 4, 2, 64);
    ngrams.parts = fields.integer_or("split_ngram_parts", 128, 1, kMostExperts);
    const int64_t rows = hash.head_offsets.back() + hash.head_rows.back();
    ngrams.table_rows = (rows + multiple - 1) / multiple * multiple;
    return ngrams;
}

// Layers are counted from 1.
void read_all_ngrams(const JsonFields& fields, ModelConfig& config) {
    std::vector<int64_t> layers = fields.integers("ple_layer_ids");
    std::ranges::sort(layers);
    const auto repeats = std::ranges::unique(layers);
    layers.erase(repeats.begin(), repeats.end());
    for (size_t table = 0; table < layers.size(); ++table) {
        if (layers[table] < 1 || layers[table] > config.layer_count()) {
            fields.reject(ErrorCode::kInvalidFile, "ple_layer_ids", "{} is none of the layers 1 to {}", layers[table],
                          config.layer_count());
        }
        config.layers[static_cast<size_t>(layers[table] - 1)].ngrams =
            read_ngrams(fields, config, static_cast<int64_t>(table));
    }
}

// Whole blocks within the budget of tokens.
IndexerConfig read_indexer(const JsonFields& fields, const RotaryConfig& rotary) {
    IndexerConfig indexer;
    indexer.heads = fields.integer_or("indexer_n_heads", 4, 1, kLargestSize);
    indexer.head_dim = fields.integer_or("indexer_head_dim", 128, 1, kLargestSize);
    indexer.pool = fields.integer_or("indexer_compress_ratio", 4, 1, 256);
    const int64_t budget = fields.integer_or("indexer_budget", 2048, indexer.pool, kLargestSize);
    indexer.tokens = budget / indexer.pool * indexer.pool;
    if (fields.integer_or("indexer_kv_heads", 1, 1, kLargestSize) != 1) {
        fields.reject(ErrorCode::kUnsupported, "indexer_kv_heads", "only 1 is supported");
    }
    if (256 % indexer.pool != 0) {
        fields.reject(ErrorCode::kUnsupported, "indexer_compress_ratio", "{} does not divide 256", indexer.pool);
    }
    if (rotary.dims > indexer.head_dim) {
        fields.reject(ErrorCode::kInvalidFile, "indexer_head_dim", "{} is below the {} dims that are rotated",
                      indexer.head_dim, rotary.dims);
    }
    return indexer;
}

void read_qwen4_exp(const JsonFields& fields, ModelConfig& config) {
    read_qwen_hybrid_mixers(fields, config);
    config.final_norm = false;
    config.residual = GatedStreamsConfig{.streams = fields.integer_or("hc_count", 4, 1, 64),
                                         .rank = fields.integer_or("hc_lowrank", 320, 1, kLargestSize)};
    MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    mixture.shared_intermediate =
        fields.integer_or("shared_expert_intermediate_size", mixture.intermediate, 0, kLargestSize);
    mixture.shared_expert_gated = mixture.shared_intermediate > 0;
    for (LayerConfig& layer : config.layers) {
        layer.norms.before = false;
        layer.feed_forward = mixture;
    }
    change_blocks<GroupedAttentionConfig>(
        config, [&](GroupedAttentionConfig& attention) { attention.indexer = read_indexer(fields, attention.rotary); });
    require_string(fields, "output_gate_type", {"silu", "swish", "sigmoid"});
    const bool sigmoid = fields.string_or("output_gate_type", "silu") == "sigmoid";
    change_blocks<GatedDeltaNetConfig>(config, [&](GatedDeltaNetConfig& net) { net.sigmoid_gate = sigmoid; });
    read_all_ngrams(fields, config);
}

}  // namespace

extern constinit const Architecture qwen4_exp_architecture = {
    .name = "qwen4_exp",
    .model_types = kModelTypes,
    .read = read_qwen4_exp,
    .names = kNames,
    .norms = NormStorage::kOffsetEverywhere,
    .row_table = "ple.ple_embedding.ngram_embedding",
};

}  // namespace sluice
