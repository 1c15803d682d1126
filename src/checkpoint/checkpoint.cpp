#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

#include "base/error.h"
#include "checkpoint/catalogue.h"
#include "checkpoint/matrix_arrangement.h"
#include "checkpoint/non_finite.h"
#include "checkpoint/tensor_names.h"
#include "tensor/float_types.h"

namespace sluice {

struct Checkpoint::Impl {
    Catalogue catalogue;
    mutable std::mutex mutex;  // guards mappings, which are made when first asked for
    mutable std::vector<std::shared_ptr<const MappedFile>> mappings;
    mutable std::mutex arranging;
    mutable std::map<std::string, ArrangedMatrix> arranged;  // by name

    const TrunkWeight& weight(int layer, Role role) const {
        const TrunkWeight* found = catalogue.find(layer, role);
        if (found != nullptr) return *found;
        const std::string_view module = TensorNames(*catalogue.config.architecture).module(role).module;
        fail(ErrorCode::kNotFound, "{}: no {}{}", catalogue.folder.string(), layer_path("", layer), module);
    }

    std::shared_ptr<const MappedFile> mapping(uint32_t file) const {
        const CheckpointFile& known = catalogue.files.at(file);
        const std::lock_guard lock(mutex);
        std::shared_ptr<const MappedFile>& mapping = mappings[file];
        if (mapping == nullptr) {
            std::shared_ptr<const MappedFile> opened = MappedFile::open(known.path);
            if (opened->bytes().size() != known.bytes) {
                fail(ErrorCode::kInvalidFile, "{}: {} bytes, but {} when the checkpoint was opened",
                     known.path.string(), opened->bytes().size(), known.bytes);
            }
            mapping = std::move(opened);
        }
        return mapping;
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

namespace {

// Reads a matrix into memory of its own and makes its format of it.
ArrangedMatrix arrange_stored(const Checkpoint& checkpoint, const WeightSource& source) {
    constexpr uint64_t kAlignment = 64;
    const WeightFormat& format = source.format;
    ArrangedMatrix matrix;
    matrix.layout.format = format;
    matrix.layout.rows = source.rows;
    matrix.layout.columns = source.columns;
    matrix.layout.scales = round_up(format.data_bytes(source.rows, source.columns), kAlignment);
    matrix.layout.zero_points =
        matrix.layout.scales + round_up(format.scale_bytes(source.rows, source.columns), kAlignment);
    auto memory =
        std::make_shared<PageMemory>(matrix.layout.zero_points + format.zero_point_bytes(source.rows, source.columns));
    const LandingPlaces places = landing_places(source.form, matrix.layout);
    const auto land = [&](const ByteRange& part, uint64_t place) {
        if (part.bytes == 0) return;
        std::ranges::copy(checkpoint.mapped(part), memory->data() + place);
    };
    land(source.data, places.data);
    land(source.scales, places.scales);
    land(source.zero_points, places.factors);
    std::vector<std::byte> scratch(matrix_scratch_bytes(source.form, matrix.layout));
    arrange_matrix(source.form, matrix.layout, memory->data(), scratch);
    matrix.memory = std::move(memory);
    return matrix;
}

}  // namespace

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
        if (!source.form.as_format()) continue;
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

std::string Checkpoint::origin() const {
    return impl_->catalogue.origin;
}

const ExpertShare& Checkpoint::share() const {
    return impl_->catalogue.share;
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
                 source.spelled, values[i], i);
        }
        values[i] += offset;
    }
    return values;
}

const RowTableSource& Checkpoint::row_table(int layer) const {
    const auto found = impl_->catalogue.row_tables.find(layer);
    if (found != impl_->catalogue.row_tables.end()) return found->second;
    fail(ErrorCode::kNotFound, "{}: layer {} has no n-gram table", impl_->catalogue.folder.string(), layer);
}

uint64_t Checkpoint::row_table_bytes() const {
    uint64_t bytes = 0;
    for (const auto& [layer, table] : impl_->catalogue.row_tables) bytes += table.bytes();
    return bytes;
}

std::vector<int64_t> Checkpoint::integers(int layer, Role role) const {
    const WeightSource& source = impl_->weight(layer, role).source;
    const std::span<const std::byte> bytes = mapped(source.data);
    const bool wide = source.format.dtype == DType::kI64;
    std::vector<int64_t> values(bytes.size() / dtype_bytes(source.format.dtype));
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = wide ? load_unaligned<int64_t>(bytes.data() + i * sizeof(int64_t))
                         : load_unaligned<int32_t>(bytes.data() + i * sizeof(int32_t));
    }
    return values;
}

std::vector<int32_t> Checkpoint::numbers(int layer, Role role, int64_t limit) const {
    const std::vector<int64_t> values = integers(layer, role);
    for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] >= 0 && values[i] < limit) continue;
        const WeightSource& source = impl_->weight(layer, role).source;
        fail(ErrorCode::kInvalidFile, "{}: tensor {}: {} at element {} is not below {}",
             files()[source.data.file].path.string(), source.spelled, values[i], i, limit);
    }
    return {values.begin(), values.end()};
}

ArrangedMatrix Checkpoint::arranged(const WeightSource& source) const {
    const std::lock_guard lock(impl_->arranging);
    ArrangedMatrix& known = impl_->arranged[source.name];
    if (known.memory == nullptr) known = arrange_stored(*this, source);
    return known;
}

uint64_t Checkpoint::arranged_bytes() const {
    uint64_t bytes = 0;
    for (const auto& [layer, spec, source] : impl_->catalogue.trunk) {
        if (!source.form.as_format()) bytes += source.data.bytes + source.scales.bytes + source.zero_points.bytes;
    }
    return bytes;
}

WeightView Checkpoint::view(const WeightSource& source) const {
    if (!source.form.as_format()) {
        const ArrangedMatrix matrix = arranged(source);
        return matrix.layout.placed(
            [&](uint64_t offset) -> const std::byte* { return matrix.memory->data() + offset; });
    }
    return source.placed([&](const ByteRange& range) { return mapped(range).data(); });
}

std::span<const std::byte> Checkpoint::mapped(const ByteRange& range) const {
    return impl_->mapping(range.file)->bytes().subspan(range.offset, range.bytes);
}

std::shared_ptr<const void> Checkpoint::owner_of(const ByteRange& range) const {
    return impl_->mapping(range.file);
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
    if (!holds(layer, expert)) {
        fail(ErrorCode::kNotFound, "{}: holds share {} of the experts, not layer {}, expert {}", folder().string(),
             share().text(), layer, expert);
    }
    return expert_reads_of(impl_->experts_of(layer, expert), expert);
}

bool Checkpoint::holds(int layer, int expert) const {
    const ExpertSources& sources = impl_->experts_of(layer, expert);
    return sources.share.holds(layer, expert, config().experts());
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
