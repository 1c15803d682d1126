#include "checkpoint/model_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

// Far above any model, and small enough that no product of three of them overflows.
constexpr int64_t kLargestSize = int64_t{1} << 20;
constexpr int64_t kLargestVocabulary = int64_t{1} << 24;
constexpr int64_t kLargestPosition = int64_t{1} << 40;
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostExperts = 1 << 16;

const std::map<std::string, Architecture, std::less<>> kModelTypes = {
    {"qwen3_moe", Architecture::kQwen3Moe},     {"qwen3_next", Architecture::kQwen3Next},
    {"qwen3_5_moe", Architecture::kQwen35Moe},  {"qwen3_5_moe_text", Architecture::kQwen35Moe},
    {"deepseek_v3", Architecture::kDeepseekV3}, {"kimi_k2", Architecture::kDeepseekV3},
};

bool is_hybrid(Architecture architecture) {
    return architecture == Architecture::kQwen3Next || architecture == Architecture::kQwen35Moe;
}

// Settings that change the arithmetic and that no supported architecture here implements.
void refuse_unsupported(const JsonFields& fields) {
    const auto require_string = [&](std::string_view name, std::initializer_list<std::string_view> supported) {
        const std::string value = fields.string_or(name, *supported.begin());
        if (std::find(supported.begin(), supported.end(), value) != supported.end()) return;
        fields.reject(ErrorCode::kUnsupported, name, "\"{}\" is not supported, only \"{}\"", value, *supported.begin());
    };
    const auto refuse_true = [&](std::string_view name) {
        if (!fields.boolean_or(name, false)) return;
        fields.reject(ErrorCode::kUnsupported, name, "true is not supported, only false");
    };
    require_string("hidden_act", {"silu", "swish"});
    require_string("scoring_func", {"sigmoid"});
    require_string("topk_method", {"noaux_tc"});
    refuse_true("attention_bias");
    refuse_true("mlp_bias");
    refuse_true("use_sliding_window");
    if (fields.integer_or("moe_layer_freq", 1, 1, kMostLayers) != 1) {
        fields.reject(ErrorCode::kUnsupported, "moe_layer_freq", "only 1 is supported");
    }
}

std::vector<MixerKind> read_layer_types(const JsonFields& fields, const std::vector<std::string>& types,
                                        const ModelConfig& config) {
    if (types.size() != static_cast<size_t>(config.layers)) {
        fields.reject(ErrorCode::kInvalidFile, "layer_types", "{} entries, but num_hidden_layers is {}", types.size(),
                      config.layers);
    }
    std::vector<MixerKind> mixers;
    for (const std::string& type : types) {
        if (type == "full_attention") {
            mixers.push_back(MixerKind::kFullAttention);
        } else if (type == "linear_attention" && is_hybrid(config.architecture)) {
            mixers.push_back(MixerKind::kGatedDeltaNet);
        } else {
            fields.reject(ErrorCode::kUnsupported, "layer_types", "\"{}\" is not supported in {}", type,
                          config.model_type);
        }
    }
    return mixers;
}

std::vector<MixerKind> read_mixers(const JsonFields& fields, const ModelConfig& config) {
    const auto layers = static_cast<size_t>(config.layers);
    if (config.architecture == Architecture::kDeepseekV3) {
        return std::vector(layers, MixerKind::kMultiLatentAttention);
    }
    if (fields.has("layer_types")) return read_layer_types(fields, fields.strings("layer_types"), config);
    std::vector<MixerKind> mixers(layers, MixerKind::kFullAttention);
    if (!is_hybrid(config.architecture)) return mixers;
    const int64_t interval = fields.integer_or("full_attention_interval", 4, 1, kMostLayers);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
        if ((layer + 1) % interval != 0) mixers[static_cast<size_t>(layer)] = MixerKind::kGatedDeltaNet;
    }
    return mixers;
}

std::vector<FeedForwardKind> read_feed_forwards(const JsonFields& fields, const ModelConfig& config) {
    std::vector<FeedForwardKind> kinds(static_cast<size_t>(config.layers), FeedForwardKind::kMoe);
    if (config.architecture == Architecture::kQwen35Moe) return kinds;
    if (config.architecture == Architecture::kDeepseekV3) {
        const int64_t dense = fields.integer_or("first_k_dense_replace", 0, 0, config.layers);
        std::fill_n(kinds.begin(), dense, FeedForwardKind::kDense);
        return kinds;
    }
    const std::vector<int64_t> dense = fields.integers("mlp_only_layers");
    const int64_t step = fields.integer_or("decoder_sparse_step", 1, 1, kMostLayers);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
        const bool listed = std::find(dense.begin(), dense.end(), layer) != dense.end();
        if (listed || (layer + 1) % step != 0) kinds[static_cast<size_t>(layer)] = FeedForwardKind::kDense;
    }
    return kinds;
}

void read_grouped_attention(const JsonFields& fields, ModelConfig& config) {
    config.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    config.kv_heads = fields.integer_or("num_key_value_heads", config.heads, 1, kLargestSize);
    if (config.heads % config.kv_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "num_key_value_heads", "{} does not divide num_attention_heads {}",
                      config.kv_heads, config.heads);
    }
    if (!fields.has("head_dim") && config.hidden_size % config.heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "head_dim", "missing, and num_attention_heads {} does not divide {}",
                      config.heads, config.hidden_size);
    }
    config.head_dim = fields.integer_or("head_dim", config.hidden_size / config.heads, 1, kLargestSize);
    config.gated_attention = is_hybrid(config.architecture) && fields.boolean_or("attn_output_gate", true);
    config.rotary =
        read_partial_rotary(fields, config.head_dim, is_hybrid(config.architecture) ? 0.25 : 1.0, config.max_positions);
}

void read_gated_delta_net(const JsonFields& fields, ModelConfig& config) {
    config.linear_key_heads = fields.integer("linear_num_key_heads", 1, kLargestSize);
    config.linear_value_heads = fields.integer("linear_num_value_heads", 1, kLargestSize);
    config.linear_key_dim = fields.integer("linear_key_head_dim", 1, kLargestSize);
    config.linear_value_dim = fields.integer("linear_value_head_dim", 1, kLargestSize);
    config.linear_conv_kernel = fields.integer("linear_conv_kernel_dim", 2, 64);
    if (config.linear_value_heads % config.linear_key_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, "linear_num_key_heads", "{} does not divide linear_num_value_heads {}",
                      config.linear_key_heads, config.linear_value_heads);
    }
}

void read_latent_attention(const JsonFields& fields, ModelConfig& config) {
    config.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    config.q_lora_rank = fields.integer_or("q_lora_rank", 0, 0, kLargestSize);
    config.kv_lora_rank = fields.integer("kv_lora_rank", 1, kLargestSize);
    config.qk_nope_head_dim = fields.integer("qk_nope_head_dim", 1, kLargestSize);
    config.qk_rope_head_dim = fields.integer("qk_rope_head_dim", 2, kLargestSize);
    config.v_head_dim = fields.integer("v_head_dim", 1, kLargestSize);
    if (config.qk_rope_head_dim % 2 != 0) {
        fields.reject(ErrorCode::kInvalidFile, "qk_rope_head_dim", "{} is odd", config.qk_rope_head_dim);
    }
    config.rotary = read_rotary(fields, config.qk_rope_head_dim, config.max_positions);
    config.rotary.interleaved = fields.boolean_or("rope_interleave", true);
}

// The one count of experts, under whichever of its three names.
int64_t read_expert_count(const JsonFields& fields) {
    int64_t count = 0;
    std::string_view counted_by;
    for (const std::string_view name : {"num_experts", "num_local_experts", "n_routed_experts"}) {
        if (!fields.has(name)) continue;
        const int64_t value = fields.integer(name, 1, kMostExperts);
        if (count != 0 && value != count) {
            fields.reject(ErrorCode::kInvalidFile, name, "{}, but {} is {}", value, counted_by, count);
        }
        count = value;
        counted_by = name;
    }
    if (count == 0) fields.reject(ErrorCode::kInvalidFile, "num_experts", "missing, as are its other names");
    return count;
}

void read_group_routing(const JsonFields& fields, ModelConfig& config) {
    config.noaux_tc = true;
    config.expert_groups = fields.integer("n_group", 1, config.experts);
    config.expert_groups_kept = fields.integer("topk_group", 1, config.expert_groups);
    config.routed_scaling_factor = fields.number("routed_scaling_factor");
    if (config.experts % config.expert_groups != 0) {
        fields.reject(ErrorCode::kInvalidFile, "n_group", "{} does not divide the {} experts", config.expert_groups,
                      config.experts);
    }
    const int64_t in_group = config.experts / config.expert_groups;
    if (config.expert_groups > 1 && in_group < 2) {
        fields.reject(ErrorCode::kInvalidFile, "n_group", "{} groups of one expert: a group's score needs two",
                      config.expert_groups);
    }
    if (config.experts_per_token > in_group * config.expert_groups_kept) {
        fields.reject(ErrorCode::kInvalidFile, "topk_group", "{} groups of {} experts hold fewer than {} per token",
                      config.expert_groups_kept, in_group, config.experts_per_token);
    }
}

void read_experts(const JsonFields& fields, ModelConfig& config) {
    config.experts = read_expert_count(fields);
    config.experts_per_token = fields.integer("num_experts_per_tok", 1, config.experts);
    config.expert_intermediate = fields.integer("moe_intermediate_size", 1, kLargestSize);
    config.normalize_top_k = fields.boolean_or("norm_topk_prob", config.architecture != Architecture::kQwen3Moe);
    if (is_hybrid(config.architecture)) {
        config.shared_intermediate = fields.integer_or("shared_expert_intermediate_size", 0, 0, kLargestSize);
        config.shared_expert_gated = config.shared_intermediate > 0;
    }
    if (config.architecture == Architecture::kDeepseekV3) {
        const int64_t shared = fields.integer_or("n_shared_experts", 0, 0, kMostExperts);
        config.shared_intermediate = shared * config.expert_intermediate;
        read_group_routing(fields, config);
    }
}

void read_text_model(const JsonFields& fields, ModelConfig& config) {
    refuse_unsupported(fields);
    config.hidden_size = fields.integer("hidden_size", 1, kLargestSize);
    config.layers = fields.integer("num_hidden_layers", 1, kMostLayers);
    config.vocabulary = fields.integer("vocab_size", 1, kLargestVocabulary);
    config.max_positions = fields.integer("max_position_embeddings", 1, kLargestPosition);
    config.rms_norm_epsilon = fields.number_or("rms_norm_eps", 1e-6);
    if (config.rms_norm_epsilon <= 0.0 || config.rms_norm_epsilon >= 1.0) {
        fields.reject(ErrorCode::kInvalidFile, "rms_norm_eps", "{} is not between 0 and 1", config.rms_norm_epsilon);
    }
    config.mixers = read_mixers(fields, config);
    config.feed_forwards = read_feed_forwards(fields, config);
    const auto has_mixer = [&](MixerKind kind) { return std::ranges::count(config.mixers, kind) > 0; };
    const auto has_feed_forward = [&](FeedForwardKind kind) {
        return std::ranges::count(config.feed_forwards, kind) > 0;
    };
    if (has_mixer(MixerKind::kMultiLatentAttention)) {
        read_latent_attention(fields, config);
    } else {
        read_grouped_attention(fields, config);
    }
    if (has_mixer(MixerKind::kGatedDeltaNet)) read_gated_delta_net(fields, config);
    if (has_feed_forward(FeedForwardKind::kDense)) {
        config.dense_intermediate = fields.integer("intermediate_size", 1, kLargestSize);
    }
    if (has_feed_forward(FeedForwardKind::kMoe)) read_experts(fields, config);
}

std::string supported_types() {
    std::string names;
    for (const auto& [name, architecture] : kModelTypes) names += (names.empty() ? "" : ", ") + name;
    return names;
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, const std::string& label) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) fail(ErrorCode::kInvalidFile, "{}: not valid JSON", label);
    const JsonFields top(json, label);
    // Models that also see nest what the text model needs, its own model_type included.
    const JsonFields fields = top.object("text_config").value_or(top);
    ModelConfig config;
    config.model_type = top.string_or("model_type", "");
    const std::string inner = fields.string_or("model_type", config.model_type);
    const auto known = kModelTypes.find(inner);
    if (known == kModelTypes.end()) {
        fields.reject(ErrorCode::kUnsupported, "model_type", "\"{}\" is not supported; these are: {}", inner,
                      supported_types());
    }
    if (config.model_type.empty()) config.model_type = inner;
    config.architecture = known->second;
    read_text_model(fields, config);
    config.tied_embeddings = fields.boolean_or("tie_word_embeddings", top.boolean_or("tie_word_embeddings", false));
    return config;
}

ModelConfig read_model_config(const std::filesystem::path& folder) {
    return parse_model_config(read_config_text(folder), (folder / "config.json").string());
}

}  // namespace sluice
