// Gemma-4-26B-A4B without its eyes: windows in most layers, wide heads whose values are the keys in the others, a dense
// MLP and experts side by side, each between norms of its own.

#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"gemma4_text", "gemma4"};

constexpr std::string_view kGgufArchitectures[] = {"gemma4"};

constexpr GgufName kGgufNames[] = {
    {"post_attention_norm", Role::kMixerPostNorm, GgufShape::kVector},
    {"post_ffw_norm", Role::kFeedForwardPostNorm, GgufShape::kVector},
    {"post_ffw_norm_1", Role::kSharedPostNorm, GgufShape::kVector},
    {"pre_ffw_norm_2", Role::kExpertsNorm, GgufShape::kVector},
    {"post_ffw_norm_2", Role::kExpertsPostNorm, GgufShape::kVector},
    {"layer_output_scale", Role::kLayerScale, GgufShape::kVector},
    {"ffn_gate", Role::kSharedGate},
    {"ffn_up", Role::kSharedUp},
    {"ffn_down", Role::kSharedDown},
    {"ffn_gate_inp.scale", Role::kRouterNorm, GgufShape::kVector, true},
    {"ffn_down_exps.scale", Role::kExpertScale, GgufShape::kVector, true},
};

constexpr NameRule kNames[] = {
    {Role::kMixerPostNorm, "post_attention_layernorm"},
    {Role::kFeedForwardNorm, "pre_feedforward_layernorm"},
    {Role::kFeedForwardPostNorm, "post_feedforward_layernorm"},
    {Role::kLayerScale, "layer_scalar", true},
    {Role::kSharedGate, "mlp.gate_proj"},
    {Role::kSharedUp, "mlp.up_proj"},
    {Role::kSharedDown, "mlp.down_proj"},
    {Role::kSharedPostNorm, "post_feedforward_layernorm_1"},
    {Role::kExpertsNorm, "pre_feedforward_layernorm_2"},
    {Role::kExpertsPostNorm, "post_feedforward_layernorm_2"},
    {Role::kRouter, "router.proj"},
    {Role::kRouterNorm, "router.scale", true},
    {Role::kExpertScale, "router.per_expert_scale", true},
};

// One full layer in so many where the config does not list them; the last is full in any case.
constexpr size_t kFullEvery = 6;

// What `rope_parameters` says of a type of layers.
RotaryConfig read_rotary_of(const JsonFields& fields, std::string_view layers, int64_t head_dim, double default_theta) {
    RotaryConfig rotary{.dims = head_dim, .theta = default_theta};
    const std::optional<JsonFields> all = fields.object("rope_parameters");
    const std::optional<JsonFields> settings = all ? all->object(layers) : std::nullopt;
    if (!settings) return rotary;
    rotary.theta = settings->number_or("rope_theta", default_theta);
    if (rotary.theta <= 1.0) {
        settings->reject(ErrorCode::kInvalidFile, "rope_theta", "{} is not above 1", rotary.theta);
    }
    require_string(*settings, "rope_type", {"default", "proportional"});
    // Proportional: pairs reach over the whole head, and the first of them turn as if all did.
    const double factor = settings->number_or("partial_rotary_factor", 1.0);
    if (factor <= 0.0 || factor > 1.0) {
        settings->reject(ErrorCode::kInvalidFile, "partial_rotary_factor", "{} is not above 0 and up to 1", factor);
    }
    const auto pairs = static_cast<int64_t>(factor * static_cast<double>(head_dim) / 2);
    rotary.still_dims = head_dim - 2 * pairs;
    rotary.divisors = read_frequency_divisors(*settings, head_dim / 2);
    return rotary;
}

void require_even(const JsonFields& fields, std::string_view name, int64_t dims) {
    if (dims % 2 != 0) fields.reject(ErrorCode::kInvalidFile, name, "{} is odd", dims);
}

GroupedAttentionConfig read_window_layers(const JsonFields& fields, const ModelConfig& config) {
    GroupedAttentionConfig attention = read_attention_heads(fields, config);
    require_even(fields, "head_dim", attention.head_dim);
    attention.rotary = read_rotary_of(fields, "sliding_attention", attention.head_dim, 1e4);
    attention.score_scale = 1;
    attention.value = ValueForm::kUnit;
    attention.window = fields.integer("sliding_window", 1, config.max_positions);
    return attention;
}

GroupedAttentionConfig read_full_layers(const JsonFields& fields, GroupedAttentionConfig attention) {
    attention.window = 0;
    attention.head_dim = fields.integer_or("global_head_dim", attention.head_dim, 1, kLargestSize);
    require_even(fields, "global_head_dim", attention.head_dim);
    attention.rotary = read_rotary_of(fields, "full_attention", attention.head_dim, 1e6);
    if (!fields.boolean_or("attention_k_eq_v", false)) return attention;
    attention.value = ValueForm::kUnitKey;
    constexpr std::string_view kHeads = "num_global_key_value_heads";
    attention.kv_heads = fields.integer_or(kHeads, attention.kv_heads, 1, attention.heads);
    if (attention.heads % attention.kv_heads != 0) {
        fields.reject(ErrorCode::kInvalidFile, kHeads, "{} does not divide {} heads", attention.kv_heads,
                      attention.heads);
    }
    return attention;
}

MixtureConfig read_both_branches(const JsonFields& fields) {
    MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    mixture.routing.normalize = true;
    mixture.shared_intermediate = fields.integer("intermediate_size", 1, kLargestSize);
    mixture.own_norms = mixture.expert_scale = true;
    return mixture;
}

void refuse_other_sizes(const JsonFields& fields) {
    refuse_true(fields, "attention_bias");
    refuse_true(fields, "use_double_wide_mlp");
    if (!fields.boolean_or("enable_moe_block", false)) {
        fields.reject(ErrorCode::kUnsupported, "enable_moe_block", "only Gemma-4 with experts is supported");
    }
    for (const std::string_view name : {"hidden_size_per_layer_input", "num_kv_shared_layers"}) {
        if (fields.integer_or(name, 0, 0, kLargestSize) != 0) {
            fields.reject(ErrorCode::kUnsupported, name, "only 0 is supported");
        }
    }
}

void read_gemma4(const JsonFields& fields, ModelConfig& config) {
    refuse_other_sizes(fields);
    read_sizes(fields, config);
    config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
    config.logit_cap = fields.number_or("final_logit_softcapping", 0.0);
    const GroupedAttentionConfig window = read_window_layers(fields, config);
    const GroupedAttentionConfig full = read_full_layers(fields, window);
    const MixtureConfig mixture = read_both_branches(fields);
    std::vector<bool> is_full = read_full_attention_layers(fields, config, "sliding_attention");
    for (size_t layer = is_full.size(); layer < config.layers.size(); ++layer) {
        is_full.push_back((layer + 1) % kFullEvery == 0);
    }
    is_full.back() = true;
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
        config.layers[layer] = {.mixer = is_full[layer] ? full : window,
                                .feed_forward = mixture,
                                .norms = {.before = true, .after = true},
                                .scaled = true};
    }
}

// Heads of keys in the layers with windows, or in the others.
int64_t kv_heads_of(const GgufHyperparameters& from, const std::vector<bool>& windows, bool window) {
    const std::vector<int64_t> heads = from.header().integers(from.key("attention.head_count_kv"));
    if (heads.size() == 1) return heads.front();
    if (heads.size() != windows.size()) {
        from.header().reject(ErrorCode::kInvalidFile, from.key("attention.head_count_kv"),
                             "{} of them, where sliding_window_pattern has {} layers", heads.size(), windows.size());
    }
    std::optional<int64_t> found;
    for (size_t layer = 0; layer < windows.size(); ++layer) {
        if (windows[layer] != window) continue;
        if (found && heads[layer] != *found) {
            from.header().reject(ErrorCode::kUnsupported, from.key("attention.head_count_kv"),
                                 "{} and {} in layers of one kind are not supported", *found, heads[layer]);
        }
        found = heads[layer];
    }
    return found.value_or(heads.front());
}

// Whether full layers have no projection of values.
bool values_are_keys(const GgufHyperparameters& from, const std::vector<bool>& windows) {
    for (size_t layer = 0; layer < windows.size(); ++layer) {
        if (!windows[layer]) return from.find_tensor(fmt::format("blk.{}.attn_v.weight", layer)) == nullptr;
    }
    return false;
}

// Of keys and values, and all of it is rotated. The names of what is said of layers with windows have an `end`.
int64_t head_dim_of(const GgufHyperparameters& from, std::string_view end) {
    const int64_t head_dim = from.integer(fmt::format("attention.key_length{}", end));
    from.require_number(fmt::format("attention.value_length{}", end), static_cast<double>(head_dim));
    from.require_number(fmt::format("rope.dimension_count{}", end), static_cast<double>(head_dim));
    return head_dim;
}

void write_gemma4(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_experts(from, config);
    const std::vector<bool> windows = from.header().booleans(from.key("attention.sliding_window_pattern"));
    config["layer_types"] = nlohmann::json::array();
    for (const bool window : windows) {
        config["layer_types"].push_back(window ? "sliding_attention" : "full_attention");
    }
    config["sliding_window"] = from.integer("attention.sliding_window");
    config["num_attention_heads"] = from.integer("attention.head_count");
    config["num_key_value_heads"] = kv_heads_of(from, windows, true);
    config["num_global_key_value_heads"] = kv_heads_of(from, windows, false);
    config["attention_k_eq_v"] = values_are_keys(from, windows);
    config["head_dim"] = head_dim_of(from, "_swa");
    config["global_head_dim"] = head_dim_of(from, "");
    nlohmann::json full = {{"rope_type", "default"}, {"rope_theta", from.number_or("rope.freq_base", 1e6)}};
    write_frequency_divisors(from, full);
    config["rope_parameters"] = {
        {"full_attention", full},
        {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", from.number_or("rope.freq_base_swa", 1e4)}}}};
    config["enable_moe_block"] = true;
    config["hidden_activation"] = "gelu_pytorch_tanh";
    config["intermediate_size"] = from.integer("feed_forward_length");
    config["moe_intermediate_size"] = expert_intermediate(from);
    config["final_logit_softcapping"] = from.number_or("final_logit_softcapping", 0.0);
    config["hidden_size_per_layer_input"] = from.integer_or("embedding_length_per_layer_input", 0);
    config["num_kv_shared_layers"] = from.integer_or("attention.shared_kv_layers", 0);
}

}  // namespace

extern constinit const Architecture gemma4_architecture = {
    .name = "gemma4",
    .model_types = kModelTypes,
    .read = read_gemma4,
    .names = kNames,
    .experts = {.each = "experts.", .stacked = "experts.switch_glu."},
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_gemma4, .names = kGgufNames},
};

}  // namespace sluice
