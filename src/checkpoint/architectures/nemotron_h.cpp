// Nemotron-H with experts (Nemotron-3-Nano, -Super): layers of one block each, Mamba-2, attention without positions,
// experts of two matrices, which may read and give less than the hidden size.

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"nemotron_h"};

constexpr NameRule kNames[] = {
    {Role::kEmbedding, "embeddings"},
    {Role::kFinalNorm, "norm_f"},
    {Role::kMixerNorm, "norm"},
    {Role::kScanInput, "mixer.in_proj"},
    {Role::kLinearConv, "mixer.conv1d"},
    {Role::kLinearConvBias, "mixer.conv1d.bias", true},
    {Role::kLinearALog, "mixer.A_log", true},
    {Role::kLinearDtBias, "mixer.dt_bias", true},
    {Role::kScanSkip, "mixer.D", true},
    {Role::kLinearNorm, "mixer.norm"},
    {Role::kLinearOutput, "mixer.out_proj"},
    {Role::kQuery, "mixer.q_proj"},
    {Role::kKey, "mixer.k_proj"},
    {Role::kValue, "mixer.v_proj"},
    {Role::kOutput, "mixer.o_proj"},
    {Role::kDenseUp, "mixer.up_proj"},
    {Role::kDenseDown, "mixer.down_proj"},
    {Role::kRouter, "mixer.gate"},
    {Role::kRouterCorrection, "mixer.gate.e_score_correction_bias", true},
    {Role::kSharedUp, "mixer.shared_experts.up_proj"},
    {Role::kSharedDown, "mixer.shared_experts.down_proj"},
    {Role::kExpertsInput, "mixer.fc1_latent_proj"},
    {Role::kExpertsOutput, "mixer.fc2_latent_proj"},
};

constexpr ActivationConfig kSquaredRelu = {.kind = ActivationConfig::Kind::kSquaredRelu};

SelectiveScanConfig read_scan(const JsonFields& fields) {
    SelectiveScanConfig scan;
    scan.heads = fields.integer("mamba_num_heads", 1, kLargestSize);
    scan.head_dim = fields.integer("mamba_head_dim", 1, kLargestSize);
    scan.groups = fields.integer("n_groups", 1, scan.heads);
    scan.state_dim = fields.integer("ssm_state_size", 1, kLargestSize);
    scan.kernel = fields.integer("conv_kernel", 2, 64);
    scan.convolution_bias = fields.boolean_or("use_conv_bias", true);
    if (scan.heads % scan.groups != 0) {
        fields.reject(ErrorCode::kInvalidFile, "n_groups", "{} does not divide mamba_num_heads {}", scan.groups,
                      scan.heads);
    }
    return scan;
}

GroupedAttentionConfig read_attention(const JsonFields& fields, const ModelConfig& config) {
    GroupedAttentionConfig attention = read_attention_heads(fields, config);
    attention.query_key_norm = QueryKeyNorm::kNone;
    return attention;
}

MixtureConfig read_experts(const JsonFields& fields) {
    MixtureConfig mixture = read_corrected_mixture(fields);
    mixture.activation = kSquaredRelu;
    if (fields.has("moe_latent_size")) mixture.latent = fields.integer("moe_latent_size", 1, kLargestSize);
    if (mixture.shared_intermediate > 0) {
        mixture.shared_intermediate =
            fields.integer_or("moe_shared_expert_intermediate_size", mixture.shared_intermediate, 1, kLargestSize);
    }
    return mixture;
}

DenseMlpConfig read_mlp(const JsonFields& fields) {
    DenseMlpConfig mlp = read_dense_mlp(fields);
    mlp.activation = kSquaredRelu;
    return mlp;
}

constexpr std::pair<std::string_view, char> kBlockTypes[] = {
    {"mamba", 'M'}, {"linear_attention", 'M'}, {"attention", '*'}, {"full_attention", '*'}, {"moe", 'E'}, {"mlp", '-'}};

// Later configs have words in place of the letters.
std::string letters_of(const JsonFields& fields, std::string_view field) {
    std::string letters;
    for (const std::string& word : fields.strings(field)) {
        const auto found = std::ranges::find(kBlockTypes, word, &std::pair<std::string_view, char>::first);
        if (found == std::end(kBlockTypes)) {
            fields.reject(ErrorCode::kUnsupported, field, "\"{}\" is none of mamba, attention, moe and mlp", word);
        }
        letters += found->second;
    }
    return letters;
}

// A letter for each layer, and the sizes; with words there may be no number of layers.
std::string read_pattern_and_sizes(const JsonFields& fields, ModelConfig& config) {
    constexpr std::string_view kLetters = "hybrid_override_pattern", kWords = "layers_block_type";
    const std::string_view field = fields.has(kLetters) || !fields.has(kWords) ? kLetters : kWords;
    std::string pattern = field == kWords ? letters_of(fields, field) : fields.string_or(field, "");
    config.layers.resize(std::min<size_t>(pattern.size(), kMostLayers));
    read_sizes(fields, config);
    if (pattern.size() != config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, field, "{} letters, but num_hidden_layers is {}", pattern.size(),
                      config.layers.size());
    }
    const size_t unknown = pattern.find_first_not_of("M*E-");
    if (unknown != std::string::npos) {
        fields.reject(ErrorCode::kUnsupported, field, "letter {} is none of M, *, E and -", unknown + 1);
    }
    return pattern;
}

void refuse_other_forms(const JsonFields& fields) {
    for (const std::string_view name : {"attention_bias", "mlp_bias", "use_bias", "mamba_proj_bias"}) {
        refuse_true(fields, name);
    }
    require_string(fields, "mlp_hidden_act", {"relu2"});
    require_string(fields, "mamba_hidden_act", {"silu"});
    if (fields.has("sliding_window")) {
        fields.reject(ErrorCode::kUnsupported, "sliding_window", "windows are not supported in this family");
    }
}

void read_nemotron_h(const JsonFields& fields, ModelConfig& config) {
    refuse_other_forms(fields);
    const std::string pattern = read_pattern_and_sizes(fields, config);
    config.rms_norm_epsilon = read_epsilon(fields, "layer_norm_epsilon", 1e-5);
    for (size_t layer = 0; layer < pattern.size(); ++layer) {
        LayerConfig& block = config.layers[layer];
        block.mixer = NoMixer{};
        block.feed_forward = NoFeedForward{};
        if (pattern[layer] == 'M') block.mixer = read_scan(fields);
        if (pattern[layer] == '*') block.mixer = read_attention(fields, config);
        if (pattern[layer] == 'E') block.feed_forward = read_experts(fields);
        if (pattern[layer] == '-') block.feed_forward = read_mlp(fields);
    }
}

}  // namespace

extern constinit const Architecture nemotron_h_architecture = {
    .name = "nemotron_h",
    .model_types = kModelTypes,
    .read = read_nemotron_h,
    .names = kNames,
    .experts = {.each = "mixer.experts.",
                .stacked = "mixer.switch_mlp.",
                .projections = {"", "up_proj", "down_proj"},
                .stacked_projections = {"", "fc1", "fc2"}},
};

}  // namespace sluice
