#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/role_shapes.h"
#include "sluice/checkpoint_tools.h"

namespace sluice {

namespace {

constexpr uint64_t kBf16Bytes = 2;
constexpr uint64_t kF32Bytes = 4;

template <typename Kind>
int64_t count_of(const std::vector<Kind>& kinds, Kind kind) {
    return std::count(kinds.begin(), kinds.end(), kind);
}

// The format that holds the most bytes of the trunk's matrices.
std::string trunk_quantization(const Checkpoint& checkpoint) {
    std::map<std::string, uint64_t> bytes;
    for (int layer = kNoLayer; layer < checkpoint.config().layers; ++layer) {
        for (size_t i = 0; i < kRoleCount; ++i) {
            const auto role = static_cast<Role>(i);
            if (is_vector_role(role) || !checkpoint.has(layer, role)) continue;
            const WeightSource& source = checkpoint.weight(layer, role);
            bytes[source.format.describe()] += source.data.bytes;
        }
    }
    const auto largest = std::max_element(bytes.begin(), bytes.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
    return largest == bytes.end() ? "" : largest->first;
}

void describe_experts(const Checkpoint& checkpoint, ModelReport& report) {
    const ModelConfig& config = checkpoint.config();
    for (int layer = 0; layer < config.layers; ++layer) {
        if (config.feed_forwards[static_cast<size_t>(layer)] != FeedForwardKind::kMoe) continue;
        uint64_t bytes = 0;
        for (const ExpertRead& read : checkpoint.expert_reads(layer, 0)) bytes += read.source.bytes;
        report.bytes_per_expert = std::max(report.bytes_per_expert, bytes);
        report.expert_bytes_per_token += bytes * static_cast<uint64_t>(config.experts_per_token);
    }
}

// What one token is multiplied with: every matrix of the trunk once, one row of the embedding, its experts.
void describe_work_per_token(const Checkpoint& checkpoint, ModelReport& report) {
    const auto add = [&](const WeightSource& source, int64_t rows) {
        const uint64_t bytes = source.data.bytes + source.scales.bytes + source.biases.bytes;
        report.trunk_bytes_per_token +=
            bytes * static_cast<uint64_t>(rows) / static_cast<uint64_t>(source.rows);
    };
    for (int layer = kNoLayer; layer < checkpoint.config().layers; ++layer) {
        for (size_t i = 0; i < kRoleCount; ++i) {
            const auto role = static_cast<Role>(i);
            if (is_vector_role(role) || role == Role::kHead || !checkpoint.has(layer, role)) continue;
            const WeightSource& source = checkpoint.weight(layer, role);
            add(source, role == Role::kEmbedding ? 1 : source.rows);
            if (role != Role::kEmbedding)
                report.weights_per_token += static_cast<uint64_t>(source.rows * source.columns);
        }
    }
    const WeightSource& head = checkpoint.weight(kNoLayer, Role::kHead);
    add(head, head.rows);
    report.weights_per_token += static_cast<uint64_t>(head.rows * head.columns);
    const int64_t expert = 3 * report.hidden_size * report.expert_intermediate;
    report.weights_per_token += static_cast<uint64_t>(report.moe_layers * report.experts_per_token * expert);
}

void describe_caches(const ModelConfig& config, ModelReport& report) {
    const auto full = static_cast<uint64_t>(report.full_attention_layers);
    const auto latent = static_cast<uint64_t>(report.latent_attention_layers);
    const auto linear = static_cast<uint64_t>(report.linear_attention_layers);
    const auto keys_values = static_cast<uint64_t>(2 * config.kv_heads * config.head_dim);
    const auto latents = static_cast<uint64_t>(config.kv_lora_rank + config.qk_rope_head_dim);
    report.kv_bytes_per_token = kBf16Bytes * (full * keys_values + latent * latents);
    const int64_t state = config.linear_value_heads * config.linear_value_dim * config.linear_key_dim;
    const int64_t channels = 2 * config.linear_key_heads * config.linear_key_dim +
                             config.linear_value_heads * config.linear_value_dim;
    const int64_t window = channels * std::max<int64_t>(config.linear_conv_kernel - 1, 0);
    report.state_bytes_per_sequence = kF32Bytes * linear * static_cast<uint64_t>(state + window);
}

bool has_chat_template(const std::filesystem::path& model) {
    for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
        if (std::filesystem::exists(model / name)) return true;
    }
    const std::filesystem::path settings = model / "tokenizer_config.json";
    if (!std::filesystem::exists(settings)) return false;
    const auto json = nlohmann::json::parse(read_text_file(settings), nullptr, false);
    return json.is_object() && json.contains("chat_template");
}

}  // namespace

ModelReport inspect(const std::filesystem::path& model) {
    const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(model);
    const ModelConfig& config = checkpoint->config();
    ModelReport report;
    report.architecture = config.model_type;
    report.layout = checkpoint->layout_name();
    report.expert_quantization = checkpoint->quantization_name();
    report.trunk_quantization = trunk_quantization(*checkpoint);
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
    report.trunk_bytes = checkpoint->trunk_bytes();
    report.expert_bytes = checkpoint->expert_bytes();
    describe_experts(*checkpoint, report);
    describe_work_per_token(*checkpoint, report);
    describe_caches(config, report);
    report.files = checkpoint->files().size();
    for (const CheckpointFile& file : checkpoint->files()) report.file_bytes += file.bytes;
    report.has_tokenizer = std::filesystem::exists(model / "tokenizer.json");
    report.has_chat_template = has_chat_template(model);
    report.fingerprint = checkpoint->fingerprint();
    for (const SkippedTensors& skipped : checkpoint->skipped()) {
        report.skipped.push_back({skipped.reason, skipped.count, skipped.bytes, skipped.example});
    }
    return report;
}

}  // namespace sluice
