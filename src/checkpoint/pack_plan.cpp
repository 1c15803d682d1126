#include "checkpoint/pack_plan.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/published.h"
#include "checkpoint/row_table_source.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

constexpr std::array<int, 3> kGroups = {128, 64, 32};

struct Quantization {
    int bits = 0;
    int group = 0;
};

std::optional<Quantization> parse_options(const PackOptions& options) {
    const bool known_group = std::ranges::find(kGroups, options.group_size) != kGroups.end();
    if (!known_group) {
        fail(ErrorCode::kUsage, "`group_size` {}: the groups of affine quantization are 32, 64 and 128",
             options.group_size);
    }
    const int group = static_cast<int>(options.group_size);
    if (options.quantize == "none") return std::nullopt;
    if (options.quantize == "affine4") return Quantization{4, group};
    if (options.quantize == "affine8") return Quantization{8, group};
    fail(ErrorCode::kUsage, "`quantize` {}: none, affine4 and affine8 exist", options.quantize);
}

bool can_be_encoded(const WeightFormat& format) {
    return format.codec == &kFloatCodec || format.codec == &kFp8BlockCodec;
}

// The format with the asked or the next smaller group that divides the columns; nothing when none does.
std::optional<WeightFormat> affine_for(const WeightFormat& source, const Quantization& wanted, int64_t columns) {
    // Scales as fine as the weights they stand for.
    const DType scales = source.codec == &kFloatCodec ? source.dtype : DType::kBF16;
    for (const int group : kGroups) {
        if (group <= wanted.group && columns % group == 0) return WeightFormat::affine(wanted.bits, group, scales);
    }
    return std::nullopt;
}

class PlanMaker {
  public:
    PlanMaker(const Checkpoint& checkpoint, const PackOptions& options, uint64_t shard_bytes)
        : checkpoint_(checkpoint),
          config_(checkpoint.config()),
          wanted_(parse_options(options)),
          shard_bytes_(shard_bytes) {
        if (wanted_) plan_.quantized = WeightFormat::affine(wanted_->bits, wanted_->group, DType::kBF16);
        plan_.share = read_share(options.shard, config_.experts(), "`shard`");
    }

    PackPlan make() {
        for (int layer = 0; layer < config_.layer_count(); ++layer) {
            if (const MixtureConfig* mixture = config_.mixture_of(layer)) add_layer(layer, *mixture);
        }
        collect_trunk();
        for (size_t i = 0; i < plan_.shards.size(); ++i) {
            plan_.shards[i].file = plan_.shards.size() == 1
                                       ? "model.safetensors"
                                       : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, plan_.shards.size());
        }
        summarize();
        return std::move(plan_);
    }

  private:
    PackShard& shard_for(uint64_t bytes) {
        if (plan_.shards.empty() ||
            (plan_.shards.back().bytes > 0 && plan_.shards.back().bytes + bytes > shard_bytes_)) {
            plan_.shards.emplace_back();
        }
        plan_.shards.back().bytes += bytes;
        plan_.bytes += bytes;
        return plan_.shards.back();
    }

    [[noreturn]] void refuse_quantized(const WeightFormat& format) const {
        fail(ErrorCode::kUnsupported,
             "{}: is {} already; pack it with `quantize` none, or quantize a BF16, F16, F32 or FP8 checkpoint",
             checkpoint_.folder().string(), format.describe());
    }

    // ---- experts

    WeightFormat expert_target(const ProjectionLayout& source) {
        if (!wanted_) return source.format;
        if (!can_be_encoded(source.format)) refuse_quantized(source.format);
        const std::optional<WeightFormat> target = affine_for(source.format, *wanted_, source.columns);
        if (!target) {
            left_.insert("experts");
        } else if (target->group_size != wanted_->group) {
            smaller_.insert("experts");
        }
        return target.value_or(source.format);
    }

    void add_layer(int layer, const MixtureConfig& mixture) {
        PackLayer unit{.layer = layer,
                       .source = checkpoint_.expert_layout(layer),
                       .target = {},
                       .experts = plan_.share.held(layer, mixture.experts)};
        const ExpertLayout rows = make_expert_layout(
            expert_target(unit.source.gate), expert_target(unit.source.up), expert_target(unit.source.down),
            mixture.width(config_.hidden_size), mixture.intermediate, mixture.activation.gated());
        unit.target = tiled_layout(rows, [](const WeightFormat& format) { return format.codec->packed_in_tiles; });
        for (const Projection projection : kProjections) {
            unit.encode |=
                projection_of(unit.source, projection).format != projection_of(unit.target, projection).format;
        }
        plan_.records += unit.experts.size();
        shard_for(unit.bytes()).layers.push_back(std::move(unit));
    }

    // ---- trunk

    void collect_trunk() {
        const Published table = read_published(checkpoint_.folder());
        for (const StoredTensor& tensor : table.tensors) {
            stored_.emplace(std::pair(tensor.file, tensor.entry.offset), &tensor);
        }
        std::map<std::string_view, const WeightSource*> table_parts;
        for (int layer = 0; layer < config_.layer_count(); ++layer) {
            if (!config_.layers[static_cast<size_t>(layer)].ngrams.any()) continue;
            const RowTableSource& rows = checkpoint_.row_table(layer);
            for (const WeightSource& part : rows.parts) table_parts[part.name] = &part;
            if (rows.common_scale.bytes > 0) add_common_scale(rows);
        }
        std::map<std::string_view, const TrunkWeight*> used;
        for (const TrunkWeight& weight : checkpoint_.trunk()) used[weight.source.name] = &weight;
        // In the order of the files. What is not used, a head for instance where the embedding is it, stays behind.
        for (const StoredTensor& tensor : table.tensors) {
            const auto found = used.find(tensor.entry.name);
            if (found != used.end()) add_trunk(tensor, *found->second);
            const auto part = table_parts.find(tensor.entry.name);
            if (part != table_parts.end()) add_moved(tensor, *part->second);
        }
    }

    // Tables stay as they are published, whatever becomes of matrices.
    void add_moved(const StoredTensor& stored, const WeightSource& source) {
        PackTrunk unit = unit_of(stored, source);
        declare_moved(unit);
        place(std::move(unit));
    }

    void add_common_scale(const RowTableSource& table) {
        const StoredTensor& stored = *stored_.find({table.common_scale.file, table.common_scale.offset})->second;
        PackTrunk unit = unit_of(stored, table.parts.front());
        unit.declarations.push_back({stored.entry.name, stored.entry.dtype, stored.entry.shape});
        unit.moved.push_back(table.common_scale);
        place(std::move(unit));
    }

    static PackTrunk unit_of(const StoredTensor& stored, const WeightSource& source) {
        PackTrunk unit{.module = stored.entry.name, .source = source, .target = {}, .declarations = {}, .moved = {}};
        if (unit.module.ends_with(".weight")) unit.module.resize(unit.module.size() - std::string(".weight").size());
        return unit;
    }

    void place(PackTrunk unit) {
        uint64_t bytes = 0;
        for (const auto& declaration : unit.declarations) bytes += declared_bytes(declaration);
        shard_for(bytes).trunk.push_back(std::move(unit));
    }

    std::optional<WeightFormat> trunk_target(const std::string& module, const TrunkWeight& weight) {
        const WeightSource& source = weight.source;
        if (!wanted_ || !weight.spec.is_matrix()) return std::nullopt;
        if (!can_be_encoded(source.format)) refuse_quantized(source.format);
        // A matrix that is stored without `.weight` has no place for scales beside it.
        const bool bare = !source.name.ends_with(".weight");
        if (bare || weight.spec.precision == Precision::kPublished) return std::nullopt;
        Quantization wanted = *wanted_;
        if (weight.spec.precision == Precision::kEightBits) wanted.bits = 8;
        const std::optional<WeightFormat> target = affine_for(source.format, wanted, source.columns);
        if (!target) {
            left_.insert(module);
            plan_.overrides[module] = std::nullopt;
        } else if (target->bits != wanted_->bits || target->group_size != wanted_->group) {
            plan_.overrides[module] = target;
            if (target->bits != wanted_->bits) ++gates_;
            if (target->group_size != wanted_->group) smaller_.insert(module);
        }
        return target;
    }

    void add_trunk(const StoredTensor& stored, const TrunkWeight& weight) {
        PackTrunk unit = unit_of(stored, weight.source);
        unit.target = trunk_target(unit.module, weight);
        if (unit.target) {
            declare_encoded(unit, stored.entry.shape);
        } else {
            declare_moved(unit);
        }
        place(std::move(unit));
    }

    static void declare_encoded(PackTrunk& unit, const std::vector<int64_t>& shape) {
        const int64_t columns = unit.source.columns;
        const auto declare = [&](const char* suffix, DType dtype, uint64_t row_bytes) {
            std::vector<int64_t> part = shape;
            part.back() = static_cast<int64_t>(row_bytes / dtype_bytes(dtype));
            unit.declarations.push_back({unit.module + suffix, dtype, std::move(part)});
        };
        declare(".weight", DType::kU32, unit.target->data_row_bytes(columns));
        declare(".scales", unit.target->dtype, unit.target->scale_row_bytes(columns));
        declare(".biases", unit.target->dtype, unit.target->zero_point_row_bytes(columns));
    }

    // Matrices that GGUF fuses have a factor in common, which each of them gets.
    const StoredTensor& stored_part(const std::string& module, const ByteRange& part) const {
        const auto [first, last] = stored_.equal_range({part.file, part.offset});
        const auto found =
            std::find_if(first, last, [&](const auto& item) { return item.second->entry.name.starts_with(module); });
        return *(found == last ? first : found)->second;
    }

    // The tensors whose bytes the source consists of.
    void declare_moved(PackTrunk& unit) const {
        for (const ByteRange& part : {unit.source.data, unit.source.scales, unit.source.zero_points}) {
            if (part.bytes == 0) continue;
            const StoredTensor& stored = stored_part(unit.module, part);
            unit.declarations.push_back({stored.entry.name, stored.entry.dtype, stored.entry.shape});
            unit.moved.push_back(part);
            if (stored.codec == nullptr) continue;
            // Of blocks safetensors knows the bytes; what they are is said in the metadata.
            unit.declarations.back().shape.back() =
                static_cast<int64_t>(unit.source.format.data_row_bytes(unit.source.columns));
            unit.blocks = stored.codec;
        }
    }

    // ---- what is told

    void summarize() {
        if (!wanted_) {
            plan_.summary = checkpoint_.quantization_name() + ", as published";
            return;
        }
        plan_.summary = plan_.quantized->describe();
        std::string notes;
        const auto note = [&notes](const std::string& text) { notes += (notes.empty() ? "" : "; ") + text; };
        if (gates_ > 0) note(fmt::format("{} gates at 8 bits", gates_));
        if (!smaller_.empty()) {
            note(fmt::format("{} in smaller groups, such as {}", smaller_.size(), *smaller_.begin()));
        }
        if (!left_.empty()) {
            note(fmt::format("{} not quantized, such as {}: no group divides its columns", left_.size(),
                             *left_.begin()));
        }
        if (!notes.empty()) plan_.summary += " (" + notes + ")";
    }

    const Checkpoint& checkpoint_;
    const ModelConfig& config_;
    std::optional<Quantization> wanted_;
    uint64_t shard_bytes_;
    PackPlan plan_;
    std::multimap<std::pair<uint32_t, uint64_t>, const StoredTensor*> stored_;  // by file and offset, while planning
    int gates_ = 0;
    std::set<std::string> smaller_, left_;
};

}  // namespace

std::vector<SafetensorsWriter::Declaration> PackShard::declarations() const {
    std::vector<SafetensorsWriter::Declaration> all;
    for (const PackLayer& layer : layers) {
        all.push_back({packed_experts_name(layer.layer),
                       DType::kU8,
                       {static_cast<int64_t>(layer.experts.size()), static_cast<int64_t>(layer.target.record_bytes)}});
    }
    for (const PackTrunk& unit : trunk) all.insert(all.end(), unit.declarations.begin(), unit.declarations.end());
    return all;
}

uint64_t declared_bytes(const SafetensorsWriter::Declaration& declaration) {
    uint64_t bytes = dtype_bytes(declaration.dtype);
    for (const int64_t size : declaration.shape) bytes *= static_cast<uint64_t>(size);
    return bytes;
}

PackPlan make_pack_plan(const Checkpoint& checkpoint, const PackOptions& options, uint64_t shard_bytes) {
    return PlanMaker(checkpoint, options, shard_bytes).make();
}

}  // namespace sluice
