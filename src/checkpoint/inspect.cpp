#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/inspect_config.h"
#include "checkpoint/row_table_source.h"
#include "checkpoint/tensor_names.h"
#include "gguf/gguf_files.h"
#include "sluice/model_report.h"
#include "sluice/tokenizer.h"
#include "text/gguf_tokenizer.h"

namespace sluice {

namespace {

// The format that holds the most bytes of the trunk's matrices.
std::string trunk_quantization(const Checkpoint& checkpoint) {
    std::map<std::string, uint64_t> bytes;
    for (const TrunkWeight& weight : checkpoint.trunk()) {
        if (weight.spec.is_matrix()) bytes[weight.source.format.describe()] += weight.source.data.bytes;
    }
    const auto largest =
        std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return largest == bytes.end() ? "" : largest->first;
}

void describe_experts(const Checkpoint& checkpoint, ModelReport& report) {
    const ModelConfig& config = checkpoint.config();
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const MixtureConfig* mixture = config.mixture_of(layer);
        if (mixture == nullptr) continue;
        uint64_t bytes = 0;
        int any = 0;
        while (!checkpoint.holds(layer, any)) ++any;
        for (const ExpertRead& read : checkpoint.expert_reads(layer, any)) bytes += read.source.bytes;
        report.bytes_per_expert = std::max(report.bytes_per_expert, bytes);
        report.expert_bytes_per_token += bytes * static_cast<uint64_t>(mixture->experts_per_token);
        report.arrangement_bytes =
            std::max(report.arrangement_bytes, checkpoint.arrangement_scratch(layer).value_or(0));
    }
}

void describe_row_tables(const Checkpoint& checkpoint, ModelReport& report) {
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        const NGramConfig& ngrams = checkpoint.config().layers[static_cast<size_t>(layer)].ngrams;
        if (!ngrams.any()) continue;
        const auto heads = static_cast<uint64_t>(ngrams.hash.heads());
        report.row_table_bytes += checkpoint.row_table(layer).bytes();
        report.rows_per_token += heads;
        report.row_bytes_per_token += heads * checkpoint.row_table(layer).row_bytes();
    }
}

// What one token is multiplied with: every matrix of the trunk once, one row of the embedding, its experts.
void describe_work_per_token(const Checkpoint& checkpoint, ModelReport& report) {
    const auto add = [&](const WeightSource& source, int64_t rows) {
        const uint64_t bytes = source.data.bytes + source.scales.bytes + source.zero_points.bytes;
        report.trunk_bytes_per_token += bytes * static_cast<uint64_t>(rows) / static_cast<uint64_t>(source.rows);
    };
    for (const auto& [layer, spec, source] : checkpoint.trunk()) {
        if (!spec.is_matrix() || spec.role == Role::kHead) continue;
        add(source, spec.role == Role::kEmbedding ? 1 : source.rows);
        if (spec.role != Role::kEmbedding)
            report.weights_per_token += static_cast<uint64_t>(source.rows * source.columns);
    }
    const WeightSource& head = checkpoint.weight(kNoLayer, Role::kHead);
    add(head, head.rows);
    report.weights_per_token += static_cast<uint64_t>(head.rows * head.columns);
    const auto* mixture = first_block<MixtureConfig>(checkpoint.config());
    const int64_t matrices = mixture == nullptr || mixture->activation.gated() ? 3 : 2;
    const int64_t width = mixture == nullptr ? report.hidden_size : mixture->width(report.hidden_size);
    const int64_t expert = matrices * width * report.expert_intermediate;
    report.weights_per_token += static_cast<uint64_t>(report.moe_layers * report.experts_per_token * expert);
}

// Which roles are stored how: mixtures differ from layer to layer.
class Formats {
  public:
    explicit Formats(std::vector<FormatReport>& list) : list_(list) {}

    void add(const std::string& role, const WeightFormat& format, uint64_t matrices, uint64_t bytes) {
        const std::string text = format.describe();
        const auto same = [&](const FormatReport& each) { return each.role == role && each.format == text; };
        auto found = std::ranges::find_if(list_, same);
        if (found == list_.end()) {
            // Behind the others of its role.
            found = std::find_if(list_.rbegin(), list_.rend(), [&](const FormatReport& each) {
                        return each.role == role;
                    }).base();
            found = list_.insert(found == list_.begin() ? list_.end() : found, {role, text, 0, 0});
        }
        found->matrices += matrices;
        found->bytes += bytes;
    }

  private:
    std::vector<FormatReport>& list_;
};

void describe_formats(const Checkpoint& checkpoint, ModelReport& report) {
    const ModelConfig& config = checkpoint.config();
    const TensorNames names(*config.architecture);
    Formats formats(report.formats);
    for (const auto& [layer, spec, source] : checkpoint.trunk()) {
        if (!spec.is_matrix()) continue;
        const uint64_t bytes = source.data.bytes + source.scales.bytes + source.zero_points.bytes;
        formats.add(std::string(names.module(spec.role).module), source.format, 1, bytes);
    }
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        if (!config.layers[static_cast<size_t>(layer)].ngrams.any()) continue;
        const RowTableSource& table = checkpoint.row_table(layer);
        formats.add("n-gram table", table.format(), table.parts.size(), table.bytes());
    }
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const MixtureConfig* mixture = config.mixture_of(layer);
        if (mixture == nullptr) continue;
        const auto experts = static_cast<uint64_t>(mixture->experts);
        for (const Projection projection : kProjections) {
            const ProjectionLayout& part = projection_of(checkpoint.expert_layout(layer), projection);
            if (part.rows == 0) continue;
            const uint64_t bytes = part.format.data_bytes(part.rows, part.columns) +
                                   part.format.scale_bytes(part.rows, part.columns) +
                                   part.format.zero_point_bytes(part.rows, part.columns);
            formats.add(fmt::format("experts.{}", projection_name(projection)), part.format, experts, experts * bytes);
        }
    }
}

bool has_chat_template(const std::filesystem::path& model) {
    if (const std::optional<std::filesystem::path> gguf = find_gguf_text(model)) {
        return !gguf_chat_templates(GgufFile::open(*gguf).header).empty();
    }
    for (const char* name : {"chat_template.jinja", "chat_template.json"}) {
        if (std::filesystem::exists(model / name)) return true;
    }
    const std::filesystem::path settings = model / "tokenizer_config.json";
    if (!std::filesystem::exists(settings)) return false;
    const nlohmann::json json = read_json_file(settings);
    return json.is_object() && json.contains("chat_template");
}

}  // namespace

ModelReport inspect(const std::filesystem::path& model) {
    const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(model);
    const ModelConfig& config = checkpoint->config();
    ModelReport report;
    describe_config(config, report);
    report.layout = checkpoint->layout_name();
    report.expert_quantization = checkpoint->quantization_name();
    report.trunk_quantization = trunk_quantization(*checkpoint);
    report.trunk_bytes = checkpoint->trunk_bytes();
    report.expert_bytes = checkpoint->expert_bytes();
    describe_experts(*checkpoint, report);
    describe_row_tables(*checkpoint, report);
    describe_work_per_token(*checkpoint, report);
    report.files = checkpoint->files().size();
    for (const CheckpointFile& file : checkpoint->files()) report.file_bytes += file.bytes;
    report.has_tokenizer = Tokenizer::is_in(model);
    report.has_chat_template = has_chat_template(model);
    describe_formats(*checkpoint, report);
    report.fingerprint = checkpoint->fingerprint();
    for (const SkippedTensors& skipped : checkpoint->skipped()) {
        report.skipped.push_back({skipped.reason, skipped.count, skipped.bytes, skipped.example});
    }
    return report;
}

}  // namespace sluice
