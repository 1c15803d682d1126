#include "checkpoint/checkpoint.h"

#include <cmath>
#include <mutex>

#include "base/error.h"
#include "checkpoint/catalogue.h"
#include "checkpoint/non_finite.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

struct Checkpoint::Impl {
    Catalogue catalogue;
    mutable std::mutex mutex;  // guards mappings, which are made when first asked for
    mutable std::vector<std::shared_ptr<const MappedFile>> mappings;

    const TrunkWeight& weight(int layer, Role role) const {
        const TrunkWeight* found = catalogue.find(layer, role);
        if (found != nullptr) return *found;
        const std::string_view module = TensorNames(*catalogue.config.architecture).module(role).module;
        fail(ErrorCode::kNotFound, "{}: no {}{}", catalogue.folder.string(), layer_path("", layer), module);
    }

    const ExpertSources& experts_of(int layer) const {
        const auto& experts = catalogue.experts;
        if (layer < 0 || static_cast<size_t>(layer) >= experts.size() ||
            experts[static_cast<size_t>(layer)].ranges.empty()) {
            fail(ErrorCode::kNotFound, "{}: layer {} has no experts", catalogue.folder.string(), layer);
        }
        return experts[static_cast<size_t>(layer)];
    }

    const ExpertSources& experts_of(int layer, int expert) const {
        const ExpertSources& sources = experts_of(layer);
        if (expert < 0 || expert >= catalogue.config.mixture_of(layer)->experts) {
            fail(ErrorCode::kNotFound, "{}: layer {} has no expert {}", catalogue.folder.string(), layer, expert);
        }
        return sources;
    }
};

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::~Checkpoint() = default;

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::filesystem::path& model) {
    auto impl = std::make_unique<Impl>();
    impl->catalogue = build_catalogue(read_published(model));
    impl->mappings.resize(impl->catalogue.files.size());
    return std::shared_ptr<const Checkpoint>(new Checkpoint(std::move(impl)));
}

const std::filesystem::path& Checkpoint::folder() const {
    return impl_->catalogue.folder;
}

const std::string& Checkpoint::config_text() const {
    return impl_->catalogue.config_text;
}

const std::string& Checkpoint::config_label() const {
    return impl_->catalogue.config_label;
}

const ModelConfig& Checkpoint::config() const {
    return impl_->catalogue.config;
}

const std::vector<CheckpointFile>& Checkpoint::files() const {
    return impl_->catalogue.files;
}

const std::vector<SkippedTensors>& Checkpoint::skipped() const {
    return impl_->catalogue.skipped;
}

bool Checkpoint::packed() const {
    return impl_->catalogue.layout_name == "packed";
}

std::string Checkpoint::layout_name() const {
    return impl_->catalogue.layout_name;
}

std::string Checkpoint::quantization_name() const {
    return impl_->catalogue.quantization_name;
}

uint64_t Checkpoint::trunk_bytes() const {
    return impl_->catalogue.trunk_bytes;
}

std::vector<ByteRange> Checkpoint::trunk_ranges() const {
    std::vector<ByteRange> ranges;
    for (const auto& [layer, spec, source] : impl_->catalogue.trunk) {
        for (const ByteRange& range : {source.data, source.scales, source.zero_points}) {
            if (range.bytes > 0) ranges.push_back(range);
        }
    }
    return ranges;
}

uint64_t Checkpoint::expert_bytes() const {
    return impl_->catalogue.expert_bytes;
}

std::string Checkpoint::fingerprint() const {
    return impl_->catalogue.fingerprint;
}

const std::vector<TrunkWeight>& Checkpoint::trunk() const {
    return impl_->catalogue.trunk;
}

bool Checkpoint::has(int layer, Role role) const {
    return impl_->catalogue.find(layer, role) != nullptr;
}

const WeightSource& Checkpoint::weight(int layer, Role role) const {
    return impl_->weight(layer, role).source;
}

std::vector<float> Checkpoint::vector(int layer, Role role) const {
    const auto& [_, spec, source] = impl_->weight(layer, role);
    std::vector<float> values(static_cast<size_t>(source.rows * source.columns));
    const WeightView stored = view(source);
    const float offset = impl_->catalogue.norms_are_offsets && spec.shape == WeightShape::kNorm ? 1.0f : 0.0f;
    for (int64_t row = 0; row < source.rows; ++row)
        decode_row(stored, row, &values[static_cast<size_t>(row * source.columns)]);
    for (size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            fail(ErrorCode::kInvalidFile, "{}: tensor {}: {} at element {}", files()[source.data.file].path.string(),
                 source.name, values[i], i);
        }
        values[i] += offset;
    }
    return values;
}

WeightView Checkpoint::view(const WeightSource& source) const {
    return source.placed([&](const ByteRange& range) { return mapped(range).data(); });
}

std::span<const std::byte> Checkpoint::mapped(const ByteRange& range) const {
    return mapping(range.file)->bytes().subspan(range.offset, range.bytes);
}

std::shared_ptr<const MappedFile> Checkpoint::mapping(uint32_t file) const {
    const CheckpointFile& known = files().at(file);
    const std::lock_guard lock(impl_->mutex);
    std::shared_ptr<const MappedFile>& mapping = impl_->mappings[file];
    if (mapping == nullptr) {
        std::shared_ptr<const MappedFile> opened = MappedFile::open(known.path);
        if (opened->bytes().size() != known.bytes) {
            fail(ErrorCode::kInvalidFile, "{}: {} bytes, but {} when the checkpoint was opened", known.path.string(),
                 opened->bytes().size(), known.bytes);
        }
        mapping = std::move(opened);
    }
    return mapping;
}

void Checkpoint::check_mappings() const {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& mapping : impl_->mappings) {
        if (mapping) mapping->check_intact();
    }
}

const ExpertLayout& Checkpoint::expert_layout(int layer) const {
    return impl_->experts_of(layer).layout;
}

std::vector<ExpertRead> Checkpoint::expert_reads(int layer, int expert) const {
    return expert_reads_of(impl_->experts_of(layer, expert), expert);
}

void Checkpoint::arrange_expert(int layer, std::span<std::byte> slot, std::span<std::byte> scratch) const {
    const ExpertSources& sources = impl_->experts_of(layer);
    sluice::arrange_expert(sources.form, sources.layout, slot, scratch);
}

std::optional<uint64_t> Checkpoint::arrangement_scratch(int layer) const {
    const ExpertSources& sources = impl_->experts_of(layer);
    return arrangement_scratch_bytes(sources.form, sources.layout);
}

std::optional<uint64_t> Checkpoint::expert_checksum(int layer, int expert) const {
    const ExpertSources& sources = impl_->experts_of(layer, expert);
    if (!sources.packed) return std::nullopt;
    return sources.checksums[static_cast<size_t>(expert)];
}

std::optional<std::string> Checkpoint::find_non_finite() const {
    return find_non_finite_weight(*this, impl_->catalogue);
}

}  // namespace sluice
