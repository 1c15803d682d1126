#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace sluice {

namespace {

using nlohmann::json;

constexpr std::string_view kArchitectureKey = "general.architecture";

std::string supported_architectures() {
    std::string text;
    for (const Architecture* architecture : architectures()) {
        for (const std::string_view name : architecture->gguf.architectures) {
            text.append(text.empty() ? "" : ", ").append(name);
        }
    }
    return text;
}

std::string_view architecture_name(const GgufHeader& header) {
    if (!header.has(kArchitectureKey)) {
        header.reject(ErrorCode::kInvalidFile, kArchitectureKey,
                      "this key is missing, which says what model it is; these are supported: {}",
                      supported_architectures());
    }
    return header.text(kArchitectureKey);
}

// That of the embedding, whose rows may be more than the tokenizer has tokens.
int64_t vocabulary_of(const GgufHyperparameters& from) {
    if (from.has("vocab_size")) return from.integer("vocab_size");
    if (const GgufTensor* embedding = from.find_tensor("token_embd.weight")) {
        return static_cast<int64_t>(embedding->sizes[1]);
    }
    const GgufValue* tokens = from.header().find("tokenizer.ggml.tokens");
    if (tokens != nullptr) return static_cast<int64_t>(tokens->count());
    return from.integer("vocab_size");
}

json yarn_settings(const GgufHyperparameters& from, double factor) {
    json settings = {{"type", "yarn"}, {"factor", factor}};
    settings["original_max_position_embeddings"] =
        from.integer_or("rope.scaling.original_context_length", from.integer("context_length"));
    settings["beta_fast"] = from.number_or("rope.scaling.yarn_beta_fast", 32.0);
    settings["beta_slow"] = from.number_or("rope.scaling.yarn_beta_slow", 1.0);
    // A tenth of mscale_all_dim, which moves the factor of cosine and sine into the softmax.
    if (const double multiplier = from.number_or("rope.scaling.yarn_log_multiplier", 0.0); multiplier != 0.0) {
        settings["mscale"] = settings["mscale_all_dim"] = 10.0 * multiplier;
    }
    for (const std::string_view name : {"yarn_ext_factor", "yarn_attn_factor", "attn_factor"}) {
        from.require_number("rope.scaling." + std::string(name), 1.0);
    }
    return settings;
}

}  // namespace

GgufHyperparameters::GgufHyperparameters(std::span<const GgufHeader* const> parts,
                                         std::span<const float> rotary_divisors)
    : parts_(parts), rotary_divisors_(rotary_divisors), architecture_(architecture_name(header())) {}

const GgufTensor* GgufHyperparameters::find_tensor(std::string_view name) const {
    for (const GgufHeader* part : parts_) {
        const auto found = std::ranges::find(part->tensors(), name, &GgufTensor::name);
        if (found != part->tensors().end()) return &*found;
    }
    return nullptr;
}

std::string GgufHyperparameters::key(std::string_view name) const {
    return fmt::format("{}.{}", architecture_, name);
}

int64_t GgufHyperparameters::integer_or(std::string_view name, int64_t fallback) const {
    return header().integer_or(key(name), fallback);
}

double GgufHyperparameters::number_or(std::string_view name, double fallback) const {
    return header().number_or(key(name), fallback);
}

bool GgufHyperparameters::boolean_or(std::string_view name, bool fallback) const {
    return header().boolean_or(key(name), fallback);
}

std::string_view GgufHyperparameters::text_or(std::string_view name, std::string_view fallback) const {
    return header().text_or(key(name), fallback);
}

void GgufHyperparameters::require_number(std::string_view name, double only) const {
    const double value = number_or(name, only);
    if (value != only) {
        header().reject(ErrorCode::kUnsupported, key(name), "{} is not supported in {}, only {}", value, architecture_,
                        only);
    }
}

int64_t GgufHyperparameters::layers() const {
    const int64_t all = integer("block_count");
    const int64_t extra = integer_or("nextn_predict_layers", 0);
    if (extra < 0 || extra >= std::max<int64_t>(all, 1)) {
        header().reject(ErrorCode::kInvalidFile, key("nextn_predict_layers"), "{}, where block_count is {}", extra,
                        all);
    }
    return all - extra;
}

const Architecture& gguf_architecture(const GgufHeader& header) {
    const std::string_view name = architecture_name(header);
    for (const Architecture* architecture : architectures()) {
        const auto& names = architecture->gguf.architectures;
        if (std::ranges::find(names, name) != names.end()) return *architecture;
    }
    header.reject(ErrorCode::kUnsupported, kArchitectureKey, "\"{}\" is not supported; these are: {}",
                  GgufHeader::printable(name), supported_architectures());
}

std::string gguf_config_text(const GgufHyperparameters& from, const Architecture& architecture) {
    json config = {{"model_type", architecture.model_types.front()}};
    architecture.gguf.write_config(from, config);
    return config.dump(2) + "\n";
}

void write_sizes(const GgufHyperparameters& from, json& config) {
    config["hidden_size"] = from.integer("embedding_length");
    config["num_hidden_layers"] = from.layers();
    config["vocab_size"] = vocabulary_of(from);
    config["max_position_embeddings"] = from.integer("context_length");
    const std::string epsilon = from.key("attention.layer_norm_rms_epsilon");
    config["rms_norm_eps"] = from.header().number(epsilon);
}

void write_rotary(const GgufHyperparameters& from, json& config) {
    config["rope_theta"] = from.number_or("rope.freq_base", 10000.0);
    const double factor = from.number_or("rope.scaling.factor", from.number_or("rope.scale_linear", 1.0));
    const std::string type(from.text_or("rope.scaling.type", factor == 0.0 || factor == 1.0 ? "none" : "linear"));
    if (type == "yarn") {
        config["rope_scaling"] = yarn_settings(from, factor);
    } else if (type != "none") {
        from.header().reject(ErrorCode::kUnsupported, from.key("rope.scaling.type"),
                             "\"{}\" is not supported, only none and yarn", GgufHeader::printable(type));
    }
}

void write_grouped_attention(const GgufHyperparameters& from, json& config) {
    const int64_t heads = from.integer("attention.head_count");
    if (heads < 1) {
        from.header().reject(ErrorCode::kInvalidFile, from.key("attention.head_count"), "{} heads make no model",
                             heads);
    }
    const int64_t head_dim = from.integer_or("attention.key_length", from.integer("embedding_length") / heads);
    if (from.integer_or("attention.value_length", head_dim) != head_dim || head_dim < 1) {
        from.header().reject(ErrorCode::kUnsupported, from.key("attention.value_length"),
                             "{} is not supported beside a key_length of {}: they must be equal",
                             from.integer_or("attention.value_length", head_dim), head_dim);
    }
    config["num_attention_heads"] = heads;
    config["num_key_value_heads"] = from.integer_or("attention.head_count_kv", heads);
    config["head_dim"] = head_dim;
    const int64_t rotated = from.integer_or("rope.dimension_count", head_dim);
    config["partial_rotary_factor"] = static_cast<double>(rotated) / static_cast<double>(head_dim);
    write_rotary(from, config);
}

void write_frequency_divisors(const GgufHyperparameters& from, json& config) {
    const std::span<const float> divisors = from.rotary_divisors();
    if (divisors.empty()) return;
    config["rope_frequency_divisors"] = std::vector<float>(divisors.begin(), divisors.end());
}

void write_experts(const GgufHyperparameters& from, json& config) {
    config["num_experts"] = from.integer("expert_count");
    config["num_experts_per_tok"] = from.integer("expert_used_count");
}

int64_t expert_intermediate(const GgufHyperparameters& from) {
    return from.has("expert_feed_forward_length") ? from.integer("expert_feed_forward_length")
                                                  : from.integer("feed_forward_length");
}

void write_corrected_routing(const GgufHyperparameters& from, json& config) {
    config["moe_intermediate_size"] = expert_intermediate(from);
    config["intermediate_size"] = from.integer_or("feed_forward_length", 0);
    config["first_k_dense_replace"] = from.integer_or("leading_dense_block_count", 0);
    config["n_shared_experts"] = from.integer_or("expert_shared_count", 0);
    config["n_group"] = std::max<int64_t>(from.integer_or("expert_group_count", 1), 1);
    config["topk_group"] = std::max<int64_t>(from.integer_or("expert_group_used_count", 1), 1);
    config["norm_topk_prob"] = from.boolean_or("expert_weights_norm", false);
    const double scale = from.number_or("expert_weights_scale", 0.0);
    config["routed_scaling_factor"] = scale == 0.0 ? 1.0 : scale;
}

}  // namespace sluice
