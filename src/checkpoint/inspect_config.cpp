#include "checkpoint/inspect_config.h"

#include <algorithm>

#include "base/file.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/role_shapes.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

namespace {

constexpr uint64_t kBf16Bytes = 2;
constexpr uint64_t kF32Bytes = 4;

template <typename Kind>
int64_t count_of(const std::vector<Kind>& kinds, Kind kind) {
    return std::count(kinds.begin(), kinds.end(), kind);
}

void describe_caches(const ModelConfig& config, ModelReport& report) {
    const auto full = static_cast<uint64_t>(report.full_attention_layers);
    const auto latent = static_cast<uint64_t>(report.latent_attention_layers);
    const auto linear = static_cast<uint64_t>(report.linear_attention_layers);
    const auto keys_values = static_cast<uint64_t>(2 * config.kv_heads * config.head_dim);
    const auto latents = static_cast<uint64_t>(config.kv_lora_rank + config.qk_rope_head_dim);
    report.kv_bytes_per_token = kBf16Bytes * (full * keys_values + latent * latents);
    const int64_t state = config.linear_value_heads * config.linear_value_dim * config.linear_key_dim;
    const int64_t channels =
        2 * config.linear_key_heads * config.linear_key_dim + config.linear_value_heads * config.linear_value_dim;
    const int64_t window = channels * std::max<int64_t>(config.linear_conv_kernel - 1, 0);
    report.state_bytes_per_sequence = kF32Bytes * linear * static_cast<uint64_t>(state + window);
}

// Adds up the tensors that a config asks for, in the formats that its quantization field names.
class ExpectedWeights {
  public:
    ExpectedWeights(const ModelConfig& config, const QuantizationConfig& quantization, ModelReport& report)
        : config_(config), quantization_(quantization), report_(report) {}

    void add_all() {
        report_.expert_quantization = quantization_.expected_format("mlp.switch_mlp.gate_proj").describe();
        report_.trunk_quantization = quantization_.expected_format(module_of(Role::kOutput)).describe();
        add(kNoLayer, Role::kEmbedding);
        add(kNoLayer, Role::kFinalNorm);
        add_head();
        for (int layer = 0; layer < static_cast<int>(config_.layers); ++layer) add_layer(layer);
    }

  private:
    void add_layer(int layer) {
        const auto i = static_cast<size_t>(layer);
        for (const Role role : mixer_roles(config_, config_.mixers[i], false, false)) add(layer, role);
        for (const Role role : feed_forward_roles(config_, config_.feed_forwards[i])) add(layer, role);
        if (config_.feed_forwards[i] == FeedForwardKind::kMoe) add_experts();
    }

    void add(int layer, Role role) {
        const RoleShape shape = role_shape(role, config_);
        int64_t rows = 1;
        for (const int64_t extent : shape.leading) rows *= extent;
        if (is_vector_role(role)) {
            report_.trunk_bytes += kBf16Bytes * static_cast<uint64_t>(rows * shape.columns);
            return;
        }
        const std::string module = layer_path("", layer) + module_of(role);
        const uint64_t bytes = bytes_of(rows, shape.columns, module);
        report_.trunk_bytes += bytes;
        const bool looked_up = role == Role::kEmbedding;
        report_.trunk_bytes_per_token += looked_up ? bytes / static_cast<uint64_t>(rows) : bytes;
        if (!looked_up) report_.weights_per_token += static_cast<uint64_t>(rows * shape.columns);
    }

    // A tied head is stored once, as the embedding, and read whole for every token.
    void add_head() {
        const uint64_t trunk = report_.trunk_bytes;
        add(kNoLayer, Role::kHead);
        if (config_.tied_embeddings) report_.trunk_bytes = trunk;
    }

    void add_experts() {
        const auto format = [&](const char* projection) {
            return quantization_.expected_format(std::string("mlp.switch_mlp.") + projection);
        };
        const ExpertLayout layout = make_expert_layout(format("gate_proj"), format("up_proj"), format("down_proj"),
                                                       config_.hidden_size, config_.expert_intermediate);
        const auto per_token = static_cast<uint64_t>(config_.experts_per_token);
        report_.bytes_per_expert = layout.record_bytes;
        report_.expert_bytes += static_cast<uint64_t>(config_.experts) * layout.record_bytes;
        report_.expert_bytes_per_token += per_token * layout.record_bytes;
        report_.weights_per_token +=
            per_token * static_cast<uint64_t>(3 * config_.hidden_size * config_.expert_intermediate);
    }

    std::string module_of(Role role) const { return std::string(module_name(role, config_.architecture).module); }

    uint64_t bytes_of(int64_t rows, int64_t columns, const std::string& module) const {
        const WeightFormat format = quantization_.expected_format(module);
        return format.data_bytes(rows, columns) + format.scale_bytes(rows, columns) + format.bias_bytes(rows, columns);
    }

    const ModelConfig& config_;
    const QuantizationConfig& quantization_;
    ModelReport& report_;
};

}  // namespace

void describe_config(const ModelConfig& config, ModelReport& report) {
    report.architecture = config.model_type;
    report.layers = config.layers;
    report.full_attention_layers = count_of(config.mixers, MixerKind::kFullAttention);
    report.linear_attention_layers = count_of(config.mixers, MixerKind::kGatedDeltaNet);
    report.latent_attention_layers = count_of(config.mixers, MixerKind::kMultiLatentAttention);
    report.moe_layers = count_of(config.feed_forwards, FeedForwardKind::kMoe);
    report.dense_layers = count_of(config.feed_forwards, FeedForwardKind::kDense);
    report.hidden_size = config.hidden_size;
    report.vocabulary = config.vocabulary;
    report.max_positions = config.max_positions;
    report.heads = config.heads;
    report.kv_heads = config.kv_heads;
    report.head_dim = config.head_dim;
    report.experts = config.experts;
    report.experts_per_token = config.experts_per_token;
    report.expert_intermediate = config.expert_intermediate;
    report.shared_intermediate = config.shared_intermediate;
    describe_caches(config, report);
}

ModelReport inspect_config(const std::filesystem::path& config_json) {
    const std::string text = read_text_file(config_json);
    const ModelConfig config = parse_model_config(text, config_json.string());
    const QuantizationConfig quantization = QuantizationConfig::parse(text, config_json.string());
    ModelReport report;
    describe_config(config, report);
    report.layout = "config.json alone";
    ExpectedWeights(config, quantization, report).add_all();
    return report;
}

}  // namespace sluice
