#include "checkpoint/catalogue.h"

#include <xxhash.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/role_shapes.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

namespace {

size_t slot_of(int layer, Role role) {
    return static_cast<size_t>(layer + 1) * kRoleCount + static_cast<size_t>(role);
}

class CatalogueBuilder {
  public:
    CatalogueBuilder(const std::filesystem::path& folder, std::string_view config_text, const std::string& label)
        : config_label_(label),
          quantization_(QuantizationConfig::parse(config_text, label)),
          table_(read_tensor_table(folder)),
          resolver_(table_, quantization_) {
        result_.folder = folder;
        result_.config = parse_model_config(config_text, label);
        result_.files = table_.files;
        const auto layers = static_cast<size_t>(config().layers);
        trunk_.resize((layers + 1) * kRoleCount);
        result_.slots.assign(trunk_.size(), -1);
        expert_tensors_.resize(layers);
        result_.experts.resize(layers);
        result_.fingerprint =
            fmt::format("{:016x}{}", XXH3_64bits(config_text.data(), config_text.size()), table_.header_digest);
    }

    Catalogue build() {
        sort_names();
        check_extra_layers();
        resolve_globals();
        for (int layer = 0; layer < config().layers; ++layer) resolve_layer(layer);
        decide_conventions();
        count_skipped();
        name_quantization();
        return std::move(result_);
    }

  private:
    const ModelConfig& config() const { return result_.config; }

    // ---- names

    void sort_names() {
        names_.reserve(table_.tensors.size());
        for (size_t i = 0; i < table_.tensors.size(); ++i) {
            const std::string& text = table_.tensors[i].entry.name;
            TensorName name = parse_tensor_name(text);
            if (name.kind == NameKind::kTrunk && name.role == Role::kEmbedding) prefix_ = text.substr(0, name.prefix);
            if (name.layer >= config().layers) {
                note_extra_layer(name, text);
                name.kind = NameKind::kMultiToken;
            } else if (name.plain_bias) {
                fail(ErrorCode::kUnsupported, "{}: biases of this kind are not supported", table_.describe(i));
            } else {
                place(name, static_cast<int64_t>(i));
            }
            names_.push_back(name);
        }
    }

    void place(const TensorName& name, int64_t tensor) {
        const auto layer = static_cast<size_t>(name.layer);
        const auto projection = static_cast<size_t>(name.projection);
        switch (name.kind) {
            case NameKind::kTrunk:
                return place_part(trunk_[slot_of(name.layer, name.role)], name.part, tensor);
            case NameKind::kExpertStack:
                return place_part(expert_tensors_[layer].stacks[projection], name.part, tensor);
            case NameKind::kGateUpStack:
                return place_part(expert_tensors_[layer].gate_up, name.part, tensor);
            case NameKind::kPackedExperts:
                expert_tensors_[layer].packed = tensor;
                return;
            case NameKind::kExpert: {
                if (name.expert >= config().experts) {
                    fail(ErrorCode::kInvalidFile, "{}: config.json says that there are {} experts",
                         table_.describe(static_cast<size_t>(tensor)), config().experts);
                }
                auto& each = expert_tensors_[layer].each;
                each.resize(static_cast<size_t>(config().experts));
                return place_part(each[static_cast<size_t>(name.expert)][projection], name.part, tensor);
            }
            default:
                return;
        }
    }

    void place_part(ModuleTensors& module, TensorPart part, int64_t tensor) {
        int64_t& place = module.parts[static_cast<size_t>(part)];
        if (place != kNoTensor) {
            fail(ErrorCode::kInvalidFile, "{}: says the same as tensor {}",
                 table_.describe(static_cast<size_t>(tensor)), resolver_.entry(place).name);
        }
        place = tensor;
    }

    // ---- layers behind the last

    void note_extra_layer(const TensorName& name, const std::string& text) {
        auto& example = extra_layers_[name.layer];
        if (example.empty()) example = text;
        if (name.multi_token_marker) marked_layers_.insert(name.layer);
    }

    // A layer of multi-token prediction is stored behind the last one; any other layer there means that config.json and
    // the files are not of the same model.
    void check_extra_layers() const {
        for (const auto& [layer, example] : extra_layers_) {
            if (marked_layers_.contains(layer)) continue;
            fail(ErrorCode::kInvalidFile,
                 "{}: num_hidden_layers: {}, but tensor {} exists and its layer is not one of multi-token "
                 "prediction",
                 config_label_, config().layers, example);
        }
    }

    // ---- trunk

    void resolve_globals() {
        resolve(kNoLayer, Role::kEmbedding);
        resolve(kNoLayer, Role::kFinalNorm);
        const bool stored = trunk_[slot_of(kNoLayer, Role::kHead)][TensorPart::kWeight] != kNoTensor;
        if (!stored) result_.config.tied_embeddings = true;
        if (config().tied_embeddings) {
            result_.slots[slot_of(kNoLayer, Role::kHead)] = result_.slots[slot_of(kNoLayer, Role::kEmbedding)];
        } else {
            resolve(kNoLayer, Role::kHead);
        }
    }

    bool stored(int layer, Role role) const { return trunk_[slot_of(layer, role)][TensorPart::kWeight] != kNoTensor; }

    void resolve_layer(int layer) {
        const auto index = static_cast<size_t>(layer);
        const bool fused_linear = stored(layer, Role::kLinearQkvz);
        const bool split_latent = stored(layer, Role::kKeyFold) && !stored(layer, Role::kKeyValueFromLatent);
        for (const Role role : mixer_roles(config(), config().mixers[index], fused_linear, split_latent)) {
            resolve(layer, role);
        }
        for (const Role role : feed_forward_roles(config(), config().feed_forwards[index])) resolve(layer, role);
        if (config().feed_forwards[index] != FeedForwardKind::kMoe) return;
        result_.experts[index] =
            resolve_experts(resolver_, expert_tensors_[index], config(), layer, layer_path(prefix_, layer));
        for (const ByteRange& range : result_.experts[index].ranges) result_.expert_bytes += range.bytes;
    }

    void resolve(int layer, Role role) {
        const ModuleName module = module_name(role, config().architecture);
        const ModuleTensors& tensors = trunk_[slot_of(layer, role)];
        const int64_t weight = tensors[TensorPart::kWeight];
        std::string name = layer_path(role == Role::kHead ? "" : prefix_, layer);
        name += fmt::format("{}{}", module.module, module.bare ? "" : ".weight");
        if (weight != kNoTensor) name = resolver_.entry(weight).name;
        const WeightSource source = resolve_source(role, name, tensors);
        result_.trunk_bytes += source.data.bytes + source.scales.bytes + source.biases.bytes;
        result_.slots[slot_of(layer, role)] = static_cast<int32_t>(result_.sources.size());
        result_.sources.push_back(source);
    }

    WeightSource resolve_source(Role role, const std::string& name, const ModuleTensors& tensors) {
        const RoleShape shape = role_shape(role, config());
        if (role == Role::kLinearConv) return resolve_convolution(name, tensors, shape);
        if (is_vector_role(role)) return resolver_.vector(name, tensors, {{shape.columns}});
        WeightSource source = resolver_.matrix(name, tensors, shape.leading, shape.columns);
        const WeightFormat& format = source.format;
        if (shape.leading.size() > 1 && shape.leading.back() % format.group_rows != 0) {
            fail(ErrorCode::kUnsupported, "{}: tensor {}: its heads share blocks of {} rows",
                 table_.files[source.data.file].path.string(), name, format.group_rows);
        }
        return source;
    }

    // [channels, 1, kernel] as published, [channels, kernel, 1] from MLX: the same bytes, and the sign of which of the
    // two conventions the norms follow.
    WeightSource resolve_convolution(const std::string& name, const ModuleTensors& tensors, const RoleShape& shape) {
        const int64_t channels = shape.leading.front();
        const std::vector<int64_t> published = {channels, 1, shape.columns};
        const std::vector<int64_t> converted = {channels, shape.columns, 1};
        WeightSource source = resolver_.vector(name, tensors, {published, converted});
        const bool is_converted = resolver_.entry(tensors[TensorPart::kWeight]).shape == converted;
        if (conv_is_converted_ && *conv_is_converted_ != is_converted) {
            fail(ErrorCode::kInvalidFile, "{}: tensor {}: other layers store the convolution the other way around",
                 table_.files[source.data.file].path.string(), name);
        }
        conv_is_converted_ = is_converted;
        source.rows = channels;
        source.columns = shape.columns;
        return source;
    }

    // ---- the whole

    void decide_conventions() {
        const bool from_mlx = std::ranges::any_of(table_.metadata, [](const auto& metadata) {
            const auto format = metadata.find("format");
            return format != metadata.end() && format->second == "mlx";
        });
        const bool offsets_published =
            config().architecture == Architecture::kQwen3Next || config().architecture == Architecture::kQwen35Moe;
        result_.norms_are_offsets = offsets_published && !conv_is_converted_.value_or(from_mlx);
        const bool packed = std::ranges::any_of(result_.experts, &ExpertSources::packed);
        const bool stacked = std::ranges::any_of(
            result_.experts, [](const ExpertSources& experts) { return experts.module.ends_with("switch_mlp"); });
        result_.layout_name = packed                                          ? "packed"
                              : stacked || conv_is_converted_.value_or(false) ? "MLX"
                                                                              : "Hugging Face";
    }

    void count_skipped() {
        for (size_t i = 0; i < names_.size(); ++i) {
            if (resolver_.used(i)) continue;
            const bool vision = names_[i].kind == NameKind::kVision;
            const bool multi_token = names_[i].kind == NameKind::kMultiToken;
            const std::string reason = vision        ? "vision tower"
                                       : multi_token ? "multi-token prediction"
                                                     : "not used by this architecture";
            auto entry = std::ranges::find(result_.skipped, reason, &SkippedTensors::reason);
            if (entry == result_.skipped.end()) {
                result_.skipped.push_back({reason, 0, 0, table_.tensors[i].entry.name});
                entry = std::prev(result_.skipped.end());
            }
            ++entry->count;
            entry->bytes += table_.tensors[i].entry.bytes;
        }
    }

    void name_quantization() {
        std::vector<std::string> formats;
        const auto add = [&formats](const WeightFormat& format) {
            const std::string text = format.describe();
            if (std::ranges::find(formats, text) == formats.end()) formats.push_back(text);
        };
        for (const ExpertSources& experts : result_.experts) {
            if (experts.ranges.empty()) continue;
            for (const Projection projection : kProjections) add(projection_of(experts.layout, projection).format);
        }
        if (formats.empty()) add(result_.find(kNoLayer, Role::kHead)->format);
        for (const std::string& text : formats) {
            result_.quantization_name += (result_.quantization_name.empty() ? "" : " and ") + text;
        }
    }

    std::string config_label_;
    QuantizationConfig quantization_;
    TensorTable table_;
    WeightResolver resolver_;
    Catalogue result_;
    std::vector<TensorName> names_;
    std::vector<ModuleTensors> trunk_;  // as Catalogue::slots
    std::vector<ExpertTensors> expert_tensors_;
    std::map<int, std::string> extra_layers_;  // an example of each
    std::set<int> marked_layers_;
    std::string prefix_ = "model.";
    std::optional<bool> conv_is_converted_;
};

}  // namespace

const WeightSource* Catalogue::find(int layer, Role role) const {
    if (layer < kNoLayer || layer >= config.layers) return nullptr;
    const int32_t index = slots[slot_of(layer, role)];
    return index < 0 ? nullptr : &sources[static_cast<size_t>(index)];
}

Catalogue build_catalogue(const std::filesystem::path& folder) {
    if (!std::filesystem::is_directory(folder)) {
        fail(ErrorCode::kNotFound, "{}: not a folder; a checkpoint is one with config.json and *.safetensors",
             folder.string());
    }
    if (!std::filesystem::exists(folder / "config.json")) {
        fail(ErrorCode::kNotFound,
             "{}: no config.json in it; a checkpoint is a folder with config.json and *.safetensors", folder.string());
    }
    return CatalogueBuilder(folder, read_config_text(folder), (folder / "config.json").string()).build();
}

}  // namespace sluice
