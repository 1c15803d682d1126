#include "checkpoint/inspect_config.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/expert_arrangement.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_quantization.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/tensor_names.h"
#include "checkpoint/weights.h"
#include "gguf/gguf_files.h"
#include "tensor/codecs.h"
#include "text/gguf_tokenizer.h"

namespace sluice {

namespace {

constexpr uint64_t kBf16Bytes = 2;
constexpr uint64_t kF32Bytes = 4;

// What a sequence keeps, per token in BF16 or once in F32.
struct StateBytes {
    uint64_t per_token = 0, per_sequence = 0;
};

StateBytes state_bytes(const GroupedAttentionConfig& attention) {
    const int64_t index_key = attention.indexer.own() ? attention.indexer.head_dim : 0;
    const int64_t key_value = attention.kv_heads * (attention.head_dim + attention.value_size());
    return {.per_token = kBf16Bytes * static_cast<uint64_t>(key_value + index_key / attention.indexer.pool),
            .per_sequence = kF32Bytes * static_cast<uint64_t>(index_key * attention.indexer.pool)};
}

StateBytes state_bytes(const LatentAttentionConfig& attention) {
    const IndexerConfig& indexer = attention.indexer;
    const int64_t index_key = indexer.own() ? indexer.head_dim / indexer.pool : 0;
    const int64_t open_pool = indexer.own() && indexer.pool > 1 ? 2 * indexer.pool * indexer.head_dim : 0;
    return {.per_token = kBf16Bytes * static_cast<uint64_t>(attention.key_value_rank + attention.rope_dim + index_key),
            .per_sequence = kF32Bytes * static_cast<uint64_t>(open_pool)};
}

StateBytes state_bytes(const CompressedAttentionConfig& attention) {
    if (attention.ratio == 0) {
        return {.per_sequence = kF32Bytes * static_cast<uint64_t>(attention.window * attention.head_dim)};
    }
    const int64_t keys = attention.head_dim + (attention.indexer.own() ? attention.indexer.head_dim : 0);
    const int64_t open_runs = attention.series() * attention.ratio * 2 * attention.series() * keys;
    return {.per_token = kBf16Bytes * static_cast<uint64_t>(keys) / static_cast<uint64_t>(attention.ratio),
            .per_sequence = kF32Bytes * static_cast<uint64_t>(attention.window * attention.head_dim + open_runs)};
}

StateBytes state_bytes(const GatedDeltaNetConfig& net) {
    const int64_t state = net.value_width() * net.key_dim;
    return {.per_sequence = kF32Bytes * static_cast<uint64_t>(state + net.channels() * (net.kernel - 1))};
}

StateBytes state_bytes(const SelectiveScanConfig& scan) {
    const int64_t state = scan.inner() * scan.state_dim;
    return {.per_sequence = kF32Bytes * static_cast<uint64_t>(state + scan.channels() * (scan.kernel - 1))};
}

StateBytes state_bytes(const NoMixer&) {
    return {};
}

// Heads as the first attention layer has them.
void describe_heads(const MixerConfig& mixer, ModelReport& report) {
    if (report.heads > 0) return;
    if (const auto* grouped = std::get_if<GroupedAttentionConfig>(&mixer)) {
        report.heads = grouped->heads;
        report.kv_heads = grouped->kv_heads;
        report.head_dim = grouped->head_dim;
    } else if (const auto* latent = std::get_if<LatentAttentionConfig>(&mixer)) {
        report.heads = latent->heads;
    } else if (const auto* compressed = std::get_if<CompressedAttentionConfig>(&mixer)) {
        report.heads = compressed->heads;
        report.kv_heads = 1;
        report.head_dim = compressed->head_dim;
    }
}

void describe_mixer(const MixerConfig& mixer, ModelReport& report) {
    describe_heads(mixer, report);
    const bool attends = std::holds_alternative<GroupedAttentionConfig>(mixer) ||
                         std::holds_alternative<CompressedAttentionConfig>(mixer);
    report.full_attention_layers += attends ? 1 : 0;
    report.latent_attention_layers += std::holds_alternative<LatentAttentionConfig>(mixer) ? 1 : 0;
    const bool recurrent =
        std::holds_alternative<GatedDeltaNetConfig>(mixer) || std::holds_alternative<SelectiveScanConfig>(mixer);
    report.linear_attention_layers += recurrent ? 1 : 0;
    const StateBytes state = std::visit([](const auto& kind) { return state_bytes(kind); }, mixer);
    report.kv_bytes_per_token += state.per_token;
    report.state_bytes_per_sequence += state.per_sequence;
}

void describe_feed_forward(const FeedForwardConfig& block, ModelReport& report) {
    const auto* mixture = std::get_if<MixtureConfig>(&block);
    if (std::holds_alternative<NoFeedForward>(block)) return;
    if (mixture == nullptr) {
        ++report.dense_layers;
        return;
    }
    ++report.moe_layers;
    report.experts = mixture->experts;
    report.experts_per_token = mixture->experts_per_token;
    report.expert_intermediate = mixture->intermediate;
    report.shared_intermediate = mixture->shared_intermediate;
}

// Adds up the tensors that a config asks for, in the formats that its quantization field names.
class ExpectedWeights {
  public:
    ExpectedWeights(const ModelConfig& config, const QuantizationConfig& quantization, ModelReport& report)
        : config_(config), names_(*config.architecture), quantization_(quantization), report_(report) {}

    void add_all() {
        report_.expert_quantization = expert_format("gate_proj").describe();
        report_.trunk_quantization = quantization_.expected_format(module_of(Role::kOutput)).describe();
        for (const WeightSpec& spec : model_weights(config_)) add(kNoLayer, spec);
        if (config_.tied_embeddings) add_tied_head();
        for (int layer = 0; layer < config_.layer_count(); ++layer) {
            const LayerConfig& block = config_.layers[static_cast<size_t>(layer)];
            for (const WeightSpec& spec : layer_weights(config_, block)) add(layer, spec);
            if (block.ngrams.any()) add_row_table(layer, block.ngrams);
            if (const MixtureConfig* mixture = config_.mixture_of(layer)) add_experts(*mixture);
        }
    }

  private:
    void add(int layer, const WeightSpec& spec) {
        const int64_t rows = spec.rows();
        if (!spec.is_matrix()) {
            report_.trunk_bytes += spec.plain_bytes();
            return;
        }
        const std::string module = layer_path("", layer) + module_of(spec.role);
        const bool kept = spec.precision == Precision::kPublished && !quantization_.of_modules();
        const uint64_t bytes =
            kept ? kBf16Bytes * static_cast<uint64_t>(rows * spec.columns) : bytes_of(rows, spec.columns, module);
        report_.trunk_bytes += bytes;
        if (spec.role == Role::kEmbedding) {
            report_.trunk_bytes_per_token += bytes / static_cast<uint64_t>(rows);  // looked up
            return;
        }
        report_.trunk_bytes_per_token += bytes;
        report_.weights_per_token += static_cast<uint64_t>(rows * spec.columns);
    }

    // Its rows have one scale for all where they are FP8.
    void add_row_table(int layer, const NGramConfig& ngrams) {
        const std::string module = layer_path("", layer) + std::string(config_.architecture->row_table);
        const WeightFormat format = quantization_.expected_table_format(module, ngrams.row_dim);
        const uint64_t row = format.data_row_bytes(ngrams.row_dim) +
                             (format.codec == &kFp8BlockCodec ? 0 : format.scale_row_bytes(ngrams.row_dim)) +
                             format.zero_point_row_bytes(ngrams.row_dim);
        report_.row_table_bytes += static_cast<uint64_t>(ngrams.table_rows) * row;
        report_.rows_per_token += static_cast<uint64_t>(ngrams.hash.heads());
        report_.row_bytes_per_token += static_cast<uint64_t>(ngrams.hash.heads()) * row;
    }

    // It is stored once, as the embedding, and read whole for every token.
    void add_tied_head() {
        report_.trunk_bytes_per_token += bytes_of(config_.vocabulary, config_.hidden_size, module_of(Role::kHead));
        report_.weights_per_token += static_cast<uint64_t>(config_.vocabulary * config_.hidden_size);
    }

    void add_experts(const MixtureConfig& mixture) {
        const ExpertLayout layout =
            make_expert_layout(expert_format("gate_proj"), expert_format("up_proj"), expert_format("down_proj"),
                               mixture.width(config_.hidden_size), mixture.intermediate, mixture.activation.gated());
        const auto per_token = static_cast<uint64_t>(mixture.experts_per_token);
        report_.bytes_per_expert = layout.record_bytes;
        report_.arrangement_bytes = arrangement_scratch_bytes(published_form(layout), layout).value_or(0);
        report_.expert_bytes += static_cast<uint64_t>(mixture.experts) * layout.record_bytes;
        report_.expert_bytes_per_token += per_token * layout.record_bytes;
        const int64_t matrices = mixture.activation.gated() ? 3 : 2;
        report_.weights_per_token +=
            per_token * static_cast<uint64_t>(matrices * mixture.width(config_.hidden_size) * mixture.intermediate);
    }

    // As publishers store experts in such a format.
    ExpertForm published_form(const ExpertLayout& layout) const {
        const ExpertNames& names = config_.architecture->experts;
        const bool floats = layout.gate.format.codec == &kFloatCodec;
        const bool stacks = floats || layout.gate.format.codec == &kMxfp4Codec;
        return {.alternating = names.alternating && stacks, .transposed = names.floats_transposed && floats};
    }

    WeightFormat expert_format(std::string_view projection) const {
        return quantization_.expected_expert_format(
            fmt::format("{}{}", config_.architecture->experts.stacked, projection));
    }

    std::string module_of(Role role) const { return std::string(names_.module(role).module); }

    uint64_t bytes_of(int64_t rows, int64_t columns, const std::string& module) const {
        const WeightFormat format = quantization_.expected_format(module);
        return format.data_bytes(rows, columns) + format.scale_bytes(rows, columns) +
               format.zero_point_bytes(rows, columns);
    }

    const ModelConfig& config_;
    TensorNames names_;
    const QuantizationConfig& quantization_;
    ModelReport& report_;
};

ModelReport inspect_first_part(const std::filesystem::path& path) {
    const GgufFile file = GgufFile::open(path);
    const Architecture& architecture = gguf_architecture(file.header);
    const GgufHeader* const parts[] = {&file.header};
    const ModelConfig config =
        parse_model_config(gguf_config_text(GgufHyperparameters(parts), architecture), path.string());
    const QuantizationConfig quantization = gguf_quantization(file.header, architecture);
    ModelReport report;
    describe_config(config, report);
    report.layout = "GGUF, its first part alone";
    ExpectedWeights(config, quantization, report).add_all();
    report.has_tokenizer = has_gguf_tokenizer(file.header);
    report.has_chat_template = !gguf_chat_templates(file.header).empty();
    return report;
}

}  // namespace

void describe_config(const ModelConfig& config, ModelReport& report) {
    report.architecture = config.model_type;
    report.layers = config.layer_count();
    report.hidden_size = config.hidden_size;
    report.residual_streams = config.streams();
    report.vocabulary = config.vocabulary;
    report.max_positions = config.max_positions;
    for (const LayerConfig& layer : config.layers) {
        describe_mixer(layer.mixer, report);
        if (layer.ngrams.any()) {
            const int64_t history = (layer.ngrams.kernel - 1) * layer.ngrams.hash.longest();
            report.state_bytes_per_sequence +=
                kF32Bytes * static_cast<uint64_t>(history * config.streams() * config.hidden_size);
        }
        describe_feed_forward(layer.feed_forward, report);
    }
}

std::filesystem::path find_lone_config(const std::filesystem::path& model) {
    if (const std::optional<std::filesystem::path> gguf = find_gguf_model(model)) {
        return std::filesystem::exists(*gguf) && gguf_parts_missing(*gguf) ? *gguf : std::filesystem::path();
    }
    if (std::filesystem::is_regular_file(model)) {
        if (model.extension() == ".json") return model;
        fail(ErrorCode::kUsage, "{}: neither a checkpoint's folder nor its config.json nor a GGUF file",
             model.string());
    }
    if (!std::filesystem::exists(model / "config.json")) return {};
    for (const auto& entry : std::filesystem::directory_iterator(model)) {
        if (entry.path().extension() == ".safetensors") return {};
    }
    return model / "config.json";
}

ModelReport inspect_config(const std::filesystem::path& config_json) {
    if (const std::optional<std::filesystem::path> gguf = find_gguf_model(config_json)) {
        return inspect_first_part(*gguf);
    }
    const std::string text = read_config_file(config_json);
    const ModelConfig config = parse_model_config(text, config_json.string());
    QuantizationConfig quantization = QuantizationConfig::parse(text, config_json.string());
    quantization.add_separate(config_json.parent_path());
    ModelReport report;
    describe_config(config, report);
    report.layout = "config.json alone";
    ExpectedWeights(config, quantization, report).add_all();
    return report;
}

}  // namespace sluice
