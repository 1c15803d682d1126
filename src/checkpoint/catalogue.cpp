#include "checkpoint/catalogue.h"

#include <xxhash.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "checkpoint/architecture.h"
#include "checkpoint/data_digest.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

namespace {

Catalogue begin_catalogue(const Published& published) {
    Catalogue catalogue;
    catalogue.folder = published.source;
    catalogue.config_label = published.config_label;
    catalogue.config_text = published.config_text;
    catalogue.config = parse_model_config(published.config_text, published.config_label);
    return catalogue;
}

class CatalogueBuilder {
  public:
    CatalogueBuilder(Published published, Catalogue begun)
        : quantization_(QuantizationConfig::parse(published.config_text, published.config_label)),
          table_(std::move(published)),
          resolver_(table_, quantization_),
          result_(std::move(begun)),
          tensor_names_(*config().architecture) {
        if (std::filesystem::is_directory(table_.source)) quantization_.add_separate(table_.source);
        result_.files = table_.files;
        expert_tensors_.resize(config().layers.size());
        result_.experts.resize(config().layers.size());
    }

    Catalogue build() {
        sort_names();
        check_extra_layers();
        resolve_globals();
        for (int layer = 0; layer < config().layer_count(); ++layer) resolve_layer(layer);
        decide_conventions();
        count_skipped();
        name_quantization();
        take_fingerprint();
        take_origin();
        return std::move(result_);
    }

  private:
    const ModelConfig& config() const { return result_.config; }

    // ---- names

    void sort_names() {
        names_.reserve(table_.tensors.size());
        std::vector<int64_t> expert_tensors(config().layers.size());
        for (const StoredTensor& tensor : table_.tensors) {
            const TensorName& name = names_.emplace_back(tensor_names_.parse(tensor.entry.name));
            const bool of_expert = name.kind == NameKind::kExpert && name.layer < config().layer_count();
            if (of_expert) ++expert_tensors[static_cast<size_t>(name.layer)];
        }
        check_expert_counts(expert_tensors);
        for (size_t i = 0; i < table_.tensors.size(); ++i) {
            const StoredTensor& tensor = table_.tensors[i];
            const std::string& text = tensor.entry.name;
            TensorName& name = names_[i];
            if (name.kind == NameKind::kTrunk && name.role == Role::kEmbedding) prefix_ = text.substr(0, name.prefix);
            if (name.layer >= config().layer_count()) {
                note_extra_layer(name, tensor.spelled());
                name.kind = NameKind::kMultiToken;
            } else {
                place(name, static_cast<int64_t>(i));
            }
        }
    }

    // Room for all experts of a layer is made when its first tensor is placed: a file of a few must not ask for it.
    void check_expert_counts(const std::vector<int64_t>& tensors) const {
        for (size_t layer = 0; layer < tensors.size(); ++layer) {
            if (tensors[layer] == 0 || tensors[layer] >= config().experts()) continue;
            fail(ErrorCode::kInvalidFile, "{}: {} experts, but layer {} has only {} tensors of experts",
                 table_.config_label, config().experts(), layer, tensors[layer]);
        }
    }

    void place(const TensorName& name, int64_t tensor) {
        const auto layer = static_cast<size_t>(name.layer);
        const auto projection = static_cast<size_t>(name.projection);
        switch (name.kind) {
            case NameKind::kTrunk:
                return place_part(trunk_[{name.layer, name.role}], name.part, tensor);
            case NameKind::kExpertStack:
                return place_part(expert_tensors_[layer].stacks[projection], name.part, tensor);
            case NameKind::kGateUpStack:
                return place_part(expert_tensors_[layer].gate_up, name.part, tensor);
            case NameKind::kPackedExperts:
                expert_tensors_[layer].packed = tensor;
                return;
            case NameKind::kExpert:
                return place_expert(name, tensor);
            case NameKind::kRowTable:
                return place_table_part(name, tensor);
            default:
                return;
        }
    }

    // Experts of a layer that config.json calls dense are not used.
    void place_expert(const TensorName& name, int64_t tensor) {
        const MixtureConfig* mixture = config().mixture_of(name.layer);
        if (mixture == nullptr) return;
        if (name.expert >= mixture->experts) {
            fail(ErrorCode::kInvalidFile, "{}: config.json says that there are {} experts",
                 table_.describe(static_cast<size_t>(tensor)), mixture->experts);
        }
        auto& each = expert_tensors_[static_cast<size_t>(name.layer)].each;
        each.resize(static_cast<size_t>(mixture->experts));
        place_part(each[static_cast<size_t>(name.expert)][static_cast<size_t>(name.projection)], name.part, tensor);
    }

    void place_table_part(const TensorName& name, int64_t tensor) {
        RowTableTensors& table = row_tables_[name.layer];
        place_part(name.table_part == kWholeTable ? table.whole : table.parts[name.table_part], name.part, tensor);
    }

    void place_part(ModuleTensors& module, TensorPart part, int64_t tensor) {
        int64_t& place = module.parts[static_cast<size_t>(part)];
        if (place != kNoTensor) {
            fail(ErrorCode::kInvalidFile, "{}: says the same as tensor {}",
                 table_.describe(static_cast<size_t>(tensor)), table_.tensors[static_cast<size_t>(place)].spelled());
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
                 table_.config_label, config().layer_count(), example);
        }
    }

    // ---- trunk

    bool stored(int layer, Role role) const {
        const auto found = trunk_.find({layer, role});
        return found != trunk_.end() && found->second[TensorPart::kWeight] != kNoTensor;
    }

    void resolve_globals() {
        if (!stored(kNoLayer, Role::kHead)) result_.config.tied_embeddings = true;
        for (const WeightSpec& spec : model_weights(config())) resolve(kNoLayer, spec);
        if (!config().tied_embeddings) return;
        result_.places[{kNoLayer, Role::kHead}] = result_.places.at({kNoLayer, Role::kEmbedding});
    }

    // Projections that may be stored in two forms.
    void note_stored_forms(int layer, LayerConfig& block) const {
        if (auto* net = block_of<GatedDeltaNetConfig>(block)) {
            net->fused_projections = stored(layer, Role::kLinearQkvz);
            net->fused_gates = stored(layer, Role::kLinearBa) && !net->fused_projections;
            net->stored_decay = stored(layer, Role::kLinearDecay);
        }
        if (auto* attention = block_of<LatentAttentionConfig>(block)) {
            attention->split_key_value = stored(layer, Role::kKeyFold) && !stored(layer, Role::kKeyValueFromLatent);
        }
        if (NGramConfig& ngrams = block.ngrams; ngrams.any()) {
            ngrams.stored_multipliers = stored(layer, Role::kNGramMultipliers);
            ngrams.stored_head_rows = stored(layer, Role::kNGramHeadRows);
            ngrams.stored_head_offsets = stored(layer, Role::kNGramHeadOffsets);
        }
        if (auto* mixture = block_of<MixtureConfig>(block)) {
            mixture->fused_expert_bias = stored(layer, Role::kExpertGateUpBias);
        }
    }

    void resolve_layer(int layer) {
        const auto index = static_cast<size_t>(layer);
        note_stored_forms(layer, result_.config.layers[index]);
        for (const WeightSpec& spec : layer_weights(config(), config().layers[index])) resolve(layer, spec);
        if (config().layers[index].ngrams.any()) resolve_table(layer, config().layers[index].ngrams);
        const MixtureConfig* mixture = config().mixture_of(layer);
        if (mixture == nullptr) return;
        result_.experts[index] =
            resolve_experts(resolver_, expert_tensors_[index], config(), layer, layer_path(prefix_, layer));
        for (const ByteRange& range : result_.experts[index].ranges) result_.expert_bytes += range.bytes;
    }

    // Where the files say which rows each head chooses among, the config's need not be there.
    void resolve_table(int layer, const NGramConfig& ngrams) {
        const NGramHash& hash = ngrams.hash;
        const bool stated = ngrams.stored_head_rows || ngrams.stored_head_offsets;
        const int64_t least = stated ? 1 : hash.head_offsets.back() + hash.head_rows.back();
        const std::string name = layer_path(prefix_, layer) + std::string(config().architecture->row_table);
        result_.row_tables[layer] = resolve_row_table(resolver_, row_tables_[layer], name, least, ngrams.row_dim);
    }

    void resolve(int layer, const WeightSpec& spec) {
        const ModuleName module = tensor_names_.module(spec.role);
        const ModuleTensors& tensors = trunk_[{layer, spec.role}];
        const int64_t weight = tensors[TensorPart::kWeight];
        std::string name = layer_path(spec.role == Role::kHead ? "" : prefix_, layer);
        name += fmt::format("{}{}", module.module, module.bare ? "" : ".weight");
        if (weight != kNoTensor) name = resolver_.entry(weight).name;
        const WeightSource source = resolve_source(spec, name, tensors);
        result_.trunk_bytes += source.data.bytes + source.scales.bytes + source.zero_points.bytes;
        result_.places[{layer, spec.role}] = result_.trunk.size();
        result_.trunk.push_back({.layer = layer, .spec = spec, .source = source});
    }

    WeightSource resolve_source(const WeightSpec& spec, const std::string& name, const ModuleTensors& tensors) {
        if (spec.shape == WeightShape::kConvolution) return resolve_convolution(name, tensors, spec);
        if (spec.shape == WeightShape::kNumbers) return resolver_.numbers(name, tensors, spec.leading, spec.columns);
        if (!spec.is_matrix()) return resolve_vector(name, tensors, spec);
        WeightSource source = resolver_.matrix(name, tensors, spec.leading, spec.columns);
        const WeightFormat& format = source.format;
        if (spec.leading.size() > 1 && spec.leading.back() % format.group_rows != 0) {
            fail(ErrorCode::kUnsupported, "{}: tensor {}: its heads share blocks of {} rows",
                 table_.files[source.data.file].path.string(), source.spelled, format.group_rows);
        }
        return source;
    }

    WeightSource resolve_vector(const std::string& name, const ModuleTensors& tensors, const WeightSpec& spec) {
        std::vector<int64_t> shape = spec.leading;
        shape.push_back(spec.columns);
        std::vector<std::vector<int64_t>> shapes = {shape};
        if (spec.role == Role::kLinearALog) shapes.push_back({1, 1, spec.columns, 1});
        WeightSource source = resolver_.vector(name, tensors, shapes);
        source.rows = spec.rows();
        source.columns = spec.columns;
        return source;
    }

    // [channels, 1, kernel] as published, [channels, kernel, 1] from MLX: the same bytes, and the sign of which of the
    // two conventions the norms follow.
    WeightSource resolve_convolution(const std::string& name, const ModuleTensors& tensors, const WeightSpec& spec) {
        const int64_t channels = spec.leading.front();
        const std::vector<int64_t> published = {channels, 1, spec.columns};
        const std::vector<int64_t> converted = {channels, spec.columns, 1};
        WeightSource source = resolver_.vector(name, tensors, {published, converted});
        const bool is_converted = resolver_.entry(tensors[TensorPart::kWeight]).shape == converted;
        if (conv_is_converted_ && *conv_is_converted_ != is_converted) {
            fail(ErrorCode::kInvalidFile, "{}: tensor {}: other layers store the convolution the other way around",
                 table_.files[source.data.file].path.string(), source.spelled);
        }
        conv_is_converted_ = is_converted;
        source.rows = channels;
        source.columns = spec.columns;
        return source;
    }

    // ---- the whole

    void decide_conventions() {
        const bool from_mlx = std::ranges::any_of(table_.metadata, [](const auto& metadata) {
            const auto format = metadata.find("format");
            return format != metadata.end() && format->second == "mlx";
        });
        const NormStorage norms = config().architecture->norms;
        const bool as_published = norms == NormStorage::kOffsetEverywhere || !conv_is_converted_.value_or(from_mlx);
        result_.norms_are_offsets = norms != NormStorage::kWeight && !table_.norms_as_used && as_published;
        const bool packed = std::ranges::any_of(result_.experts, &ExpertSources::packed);
        const bool stacked = std::ranges::any_of(
            result_.experts, [](const ExpertSources& experts) { return experts.module.ends_with("switch_mlp"); });
        result_.layout_name = packed                                          ? "packed"
                              : !table_.layout.empty()                        ? table_.layout
                              : stacked || conv_is_converted_.value_or(false) ? "MLX"
                                                                              : "Hugging Face";
    }

    void count_skipped() {
        for (size_t i = 0; i < names_.size(); ++i) {
            if (resolver_.used(i)) continue;
            if (names_[i].plain_bias && names_[i].kind != NameKind::kMultiToken) {
                fail(ErrorCode::kUnsupported, "{}: biases of this kind are not supported", table_.describe(i));
            }
            const bool vision = names_[i].kind == NameKind::kVision;
            const bool multi_token = names_[i].kind == NameKind::kMultiToken;
            const std::string reason = vision        ? "vision tower"
                                       : multi_token ? "multi-token prediction"
                                                     : "not used by this architecture";
            auto entry = std::ranges::find(result_.skipped, reason, &SkippedTensors::reason);
            if (entry == result_.skipped.end()) {
                result_.skipped.push_back({reason, 0, 0, table_.tensors[i].spelled()});
                entry = std::prev(result_.skipped.end());
            }
            ++entry->count;
            entry->bytes += table_.tensors[i].entry.bytes;
        }
    }

    // What every folder has alike that was packed from the same, the same way.
    void take_origin() {
        result_.origin = result_.fingerprint;
        for (size_t layer = 0; layer < result_.experts.size(); ++layer) {
            const ExpertSources& experts = result_.experts[layer];
            if (!experts.packed) continue;
            const bool first = result_.origin == result_.fingerprint;
            if (!first && experts.share != result_.share) {
                fail(ErrorCode::kInvalidFile, "{}: layer {}: holds share {} of the experts, but other layers {}",
                     result_.folder.string(), layer, experts.share.text(), result_.share.text());
            }
            result_.share = experts.share;
            const auto& metadata =
                table_.metadata[table_.tensors[static_cast<size_t>(expert_tensors_[layer].packed)].file];
            const std::string source = metadata_value(metadata, kPackedSourceKey);
            if (first && !source.empty()) result_.origin = source + metadata_value(metadata, kPackedOptionsKey);
        }
    }

    void take_fingerprint() {
        std::vector<ByteRange> parts;
        for (const TrunkWeight& weight : result_.trunk) parts.push_back(weight.source.data);
        result_.fingerprint =
            fmt::format("{:016x}{}{}", XXH3_64bits(table_.config_text.data(), table_.config_text.size()),
                        table_.header_digest, sampled_data_digest(table_.files, parts));
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
        if (formats.empty()) add(result_.find(kNoLayer, Role::kHead)->source.format);
        for (const std::string& text : formats) {
            result_.quantization_name += (result_.quantization_name.empty() ? "" : " and ") + text;
        }
    }

    QuantizationConfig quantization_;
    Published table_;
    WeightResolver resolver_;
    Catalogue result_;
    TensorNames tensor_names_;
    std::vector<TensorName> names_;
    std::map<std::pair<int, Role>, ModuleTensors> trunk_;
    std::vector<ExpertTensors> expert_tensors_;
    std::map<int, RowTableTensors> row_tables_;  // by layer
    std::map<int, std::string> extra_layers_;    // an example of each
    std::set<int> marked_layers_;
    std::string prefix_ = "model.";
    std::optional<bool> conv_is_converted_;
};

}  // namespace

const TrunkWeight* Catalogue::find(int layer, Role role) const {
    const auto place = places.find({layer, role});
    return place == places.end() ? nullptr : &trunk[place->second];
}

Catalogue build_catalogue(Published published) {
    // First, because no conversion of the weights mends an architecture that is not supported.
    Catalogue begun = begin_catalogue(published);
    return CatalogueBuilder(std::move(published), std::move(begun)).build();
}

}  // namespace sluice
