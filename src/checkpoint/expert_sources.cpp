#include "checkpoint/expert_sources.h"

#include <algorithm>
#include <tuple>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/matrix_arrangement.h"
#include "checkpoint/packed_layout.h"

namespace sluice {

namespace {

constexpr size_t kPartsPerProjection = 3;
constexpr size_t kPartsPerExpert = kPartsPerProjection * kProjections.size();

struct MatrixSize {
    int64_t rows;
    int64_t columns;
};

// `stacked` is the module of all stacked experts, with a dot behind it.
std::string stacked_name(const WeightResolver& resolver, const ModuleTensors& tensors, const std::string& stacked,
                         std::string_view projection) {
    const int64_t weight = tensors[TensorPart::kWeight];
    if (weight != kNoTensor) return resolver.entry(weight).name;
    return fmt::format("{}{}.weight", stacked, projection);
}

// Part `index` of `count` equal ones.
ByteRange slice(const ByteRange& whole, uint64_t index, uint64_t count) {
    const uint64_t bytes = whole.bytes / count;
    return {.file = whole.file, .offset = whole.offset + index * bytes, .bytes = bytes};
}

void store_slices(const WeightSource& source, uint64_t index, uint64_t count, ByteRange* parts) {
    parts[0] = slice(source.data, index, count);
    parts[1] = slice(source.scales, index, count);
    parts[2] = slice(source.zero_points, index, count);
}

class ExpertResolver {
  public:
    ExpertResolver(WeightResolver& resolver, const ExpertTensors& tensors, const ModelConfig& config, int layer,
                   std::string path)
        : resolver_(resolver),
          tensors_(tensors),
          mixture_(*config.mixture_of(layer)),
          width_(mixture_.width(config.hidden_size)),
          names_(config.architecture->experts),
          layer_(layer),
          path_(std::move(path)) {}

    ExpertSources resolve() {
        const bool stacked = std::ranges::any_of(
            tensors_.stacks, [](const ModuleTensors& t) { return t[TensorPart::kWeight] != kNoTensor; });
        const bool fused = tensors_.gate_up[TensorPart::kWeight] != kNoTensor;
        const bool each = !tensors_.each.empty();
        const bool packed = tensors_.packed != kNoTensor;
        const int forms = static_cast<int>(stacked || fused) + static_cast<int>(each) + static_cast<int>(packed);
        if (forms != 1) fail_forms(forms);
        if (packed) return resolve_packed();
        sources_.module = path_;
        sources_.module += fused || each ? names_.each : names_.stacked;
        sources_.module.pop_back();  // the dot
        sources_.ranges.resize(static_cast<size_t>(mixture_.experts) * kPartsPerExpert);
        if (each) {
            resolve_each();
        } else {
            resolve_stacks(fused);
        }
        if (!gated()) formats_[0] = formats_[1];
        sources_.layout =
            make_expert_layout(formats_[0], formats_[1], formats_[2], width_, mixture_.intermediate, gated());
        return std::move(sources_);
    }

  private:
    bool gated() const { return mixture_.activation.gated(); }
    bool stores(Projection projection) const { return projection != Projection::kGate || gated(); }

    [[noreturn]] void fail_forms(int forms) const {
        const std::string folder = resolver_.table().files.front().path.parent_path().string();
        if (forms == 0 && resolver_.table().spelling) {
            fail(ErrorCode::kNotFound, "{}: no experts for layer {}: tensor {} is missing", folder, layer_,
                 resolver_.table().spelled(fmt::format("{}{}gate_proj.weight", path_, names_.stacked)));
        }
        if (forms == 0) {
            const std::string each = fmt::format("{}{}", path_, names_.each);
            const std::string stacked = fmt::format("{}{}", path_, names_.stacked);
            fail(ErrorCode::kNotFound,
                 "{}: no experts for layer {}: neither {}0.{}.weight nor {}gate_up_proj nor {}gate_proj.weight nor {}",
                 folder, layer_, each, names_.projections[gated() ? 0 : 1], each, stacked, packed_experts_name(layer_));
        }
        fail(ErrorCode::kInvalidFile, "{}: the experts of layer {} are stored in {} forms", folder, layer_, forms);
    }

    MatrixSize size_of(Projection projection) const {
        if (projection == Projection::kDown) return {width_, mixture_.intermediate};
        return {mixture_.intermediate, width_};
    }

    ByteRange* parts_of(int64_t expert, Projection projection) {
        return &sources_.ranges[static_cast<size_t>(expert) * kPartsPerExpert +
                                static_cast<size_t>(projection) * kPartsPerProjection];
    }

    void resolve_each() {
        const auto first = static_cast<size_t>(gated() ? Projection::kGate : Projection::kUp);
        for (int64_t expert = 0; expert < mixture_.experts; ++expert) {
            for (const Projection projection : kProjections) {
                if (!stores(projection)) continue;
                const auto p = static_cast<size_t>(projection);
                const MatrixSize size = size_of(projection);
                const std::string name =
                    fmt::format("{}{}{}.{}.weight", path_, names_.each, expert, names_.projections[p]);
                const WeightSource source =
                    resolver_.matrix(name, tensors_.each[static_cast<size_t>(expert)][p], {size.rows}, size.columns);
                if (expert == 0) formats_[p] = source.format;
                if (expert == 0 && p == first) sources_.form.stored = source.form;
                if (source.format != formats_[p] || source.form != sources_.form.stored) {
                    fail(ErrorCode::kUnsupported, "{}: tensor {} is {}, but that of expert 0 is {}",
                         resolver_.table().files[source.data.file].path.string(), source.spelled,
                         source.format.describe(), formats_[p].describe());
                }
                store_slices(source, 0, 1, parts_of(expert, projection));
            }
        }
    }

    void resolve_stacks(bool fused) {
        const int64_t experts = mixture_.experts;
        if (fused) resolve_gate_up();
        for (const Projection projection : kProjections) {
            if ((fused && projection != Projection::kDown) || !stores(projection)) continue;
            const auto p = static_cast<size_t>(projection);
            const MatrixSize size = size_of(projection);
            const ModuleTensors& tensors = tensors_.stacks[p];
            const std::string name = stacked_name(resolver_, tensors, fmt::format("{}{}", path_, names_.stacked),
                                                  projection_name(projection));
            const WeightSource source = stack(name, tensors, size);
            formats_[p] = source.format;
            for (int64_t expert = 0; expert < experts; ++expert) {
                store_slices(source, static_cast<uint64_t>(expert), static_cast<uint64_t>(experts),
                             parts_of(expert, projection));
            }
        }
    }

    // Whether the stacks are stored in times out. Only stacks of plain floats are.
    bool transposed() const {
        const int64_t weight = tensors_.gate_up[TensorPart::kWeight];
        return names_.floats_transposed && tensors_.gate_up[TensorPart::kScales] == kNoTensor &&
               is_plain_float(resolver_.entry(weight).dtype);
    }

    // All experts' matrices of this size, in the form in which they are stored.
    WeightSource stack(const std::string& name, const ModuleTensors& tensors, MatrixSize size) {
        if (!sources_.form.transposed) {
            return resolver_.matrix(name, tensors, {mixture_.experts, size.rows}, size.columns);
        }
        WeightSource source = resolver_.matrix(name, tensors, {mixture_.experts, size.columns}, size.rows);
        if (source.format.codec != &kFloatCodec) {
            fail(ErrorCode::kUnsupported, "{}: tensor {}: {} in x out is not supported, only BF16, F16 and F32",
                 resolver_.table().files[source.data.file].path.string(), source.spelled, source.format.describe());
        }
        return source;
    }

    void store_both(const WeightSource& source) {
        const auto experts = static_cast<uint64_t>(mixture_.experts);
        for (int64_t expert = 0; expert < mixture_.experts; ++expert) {
            store_slices(source, static_cast<uint64_t>(expert), experts, parts_of(expert, Projection::kGate));
        }
    }

    // gate_up_proj: per expert the rows of gate, then those of up, or as the architecture says.
    void resolve_gate_up() {
        const MatrixSize size = size_of(Projection::kGate);
        const std::string& name = resolver_.entry(tensors_.gate_up[TensorPart::kWeight]).name;
        sources_.form = {.alternating = names_.alternating, .transposed = transposed()};
        const WeightSource source = stack(name, tensors_.gate_up, {2 * size.rows, size.columns});
        const WeightFormat& format = source.format;
        // A factor of the whole stack of an expert is that of both.
        const bool common = format.group_rows >= 2 * size.rows;
        if (!common && size.rows % format.group_rows != 0) {
            fail(ErrorCode::kUnsupported, "{}: tensor {}: gate and up share a block of {} rows",
                 resolver_.table().files[source.data.file].path.string(), source.spelled, format.group_rows);
        }
        formats_[0] = formats_[1] = format;
        const auto halves = 2 * static_cast<uint64_t>(mixture_.experts);
        if (sources_.form.parts_gate_and_up()) return store_both(source);
        for (int64_t expert = 0; expert < mixture_.experts; ++expert) {
            const auto first = 2 * static_cast<uint64_t>(expert);
            store_slices(source, first, halves, parts_of(expert, Projection::kGate));
            store_slices(source, first + 1, halves, parts_of(expert, Projection::kUp));
            if (!common) continue;
            for (const Projection half : {Projection::kGate, Projection::kUp}) {
                parts_of(expert, half)[1] =
                    slice(source.scales, static_cast<uint64_t>(expert), static_cast<uint64_t>(mixture_.experts));
            }
        }
    }

    const std::string& packed_metadata(const std::string& key) const {
        const uint32_t file = resolver_.table().tensors[static_cast<size_t>(tensors_.packed)].file;
        const auto& metadata = resolver_.table().metadata[file];
        const auto found = metadata.find(key);
        if (found != metadata.end()) return found->second;
        fail(ErrorCode::kInvalidFile, "{}: metadata has no {}, which {} needs",
             resolver_.table().files[file].path.string(), key, packed_experts_name(layer_));
    }

    std::string packed_where(const std::string& key) const {
        const uint32_t file = resolver_.table().tensors[static_cast<size_t>(tensors_.packed)].file;
        return fmt::format("{}: {}", resolver_.table().files[file].path.string(), key);
    }

    ExpertSources resolve_packed() {
        const SafetensorsEntry& entry = resolver_.entry(tensors_.packed);
        const std::string where = resolver_.table().describe(static_cast<size_t>(tensors_.packed));
        const std::string version_key(kPackedVersionKey);
        const std::string& version = packed_metadata(version_key);
        if (version != kPackedVersion && version != kPackedVersionBefore && version != kPackedVersionShared) {
            fail(ErrorCode::kUnsupported, "{} is \"{}\", but only \"{}\" to \"{}\" are supported",
                 packed_where(version_key), one_line(version), kPackedVersionBefore, kPackedVersionShared);
        }
        if (version == kPackedVersionShared) {
            sources_.share = read_share(packed_metadata(std::string(kPackedShareKey)), mixture_.experts,
                                        packed_where(std::string(kPackedShareKey)));
        }
        const std::string format_key = packed_format_key(layer_);
        sources_.packed = true;
        sources_.module = entry.name;
        sources_.layout = read_packed_format(packed_metadata(format_key), width_, mixture_.intermediate,
                                             packed_where(format_key), gated());
        const auto record = static_cast<int64_t>(sources_.layout.record_bytes);
        const int64_t count = sources_.share.count(layer_, mixture_.experts);
        if (entry.dtype != DType::kU8 || entry.shape != std::vector<int64_t>{count, record}) {
            fail(ErrorCode::kInvalidFile, "{}: {} experts of {} bytes, U8 [{}, {}], belong here", where, count, record,
                 count, record);
        }
        if (entry.offset % kPageBytes != 0) {
            fail(ErrorCode::kInvalidFile, "{}: begins at byte {} of the file, which is not a multiple of {}", where,
                 entry.offset, kPageBytes);
        }
        const std::vector<int64_t> held = sources_.share.held(layer_, mixture_.experts);
        const std::string checksums_key = packed_checksums_key(layer_);
        const std::vector<uint64_t> checksums =
            read_packed_checksums(packed_metadata(checksums_key), held.size(), packed_where(checksums_key));
        const ByteRange all = resolver_.use(tensors_.packed);
        sources_.ranges.resize(static_cast<size_t>(mixture_.experts));
        sources_.checksums.resize(sources_.ranges.size());
        for (size_t place = 0; place < held.size(); ++place) {
            const auto expert = static_cast<size_t>(held[place]);
            sources_.ranges[expert] = slice(all, place, held.size());
            sources_.checksums[expert] = checksums[place];
        }
        return std::move(sources_);
    }

    WeightResolver& resolver_;
    const ExpertTensors& tensors_;
    const MixtureConfig& mixture_;
    int64_t width_;  // of what an expert reads and gives
    const ExpertNames& names_;
    int layer_;
    std::string path_;
    ExpertSources sources_;
    std::array<WeightFormat, 3> formats_;
};

}  // namespace

ExpertSources resolve_experts(WeightResolver& resolver, const ExpertTensors& tensors, const ModelConfig& config,
                              int layer, const std::string& path) {
    return ExpertResolver(resolver, tensors, config, layer, path).resolve();
}

std::vector<ExpertRead> expert_reads_of(const ExpertSources& sources, int expert) {
    const size_t count = sources.ranges_per_expert();
    const ByteRange* ranges = &sources.ranges[static_cast<size_t>(expert) * count];
    std::vector<ExpertRead> reads;
    if (sources.packed) return {{.source = ranges[0], .slot_offset = 0}};
    for (const Projection projection : kProjections) {
        const ProjectionLayout& layout = projection_of(sources.layout, projection);
        const LandingPlaces places = landing_places(sources.form.stored, layout);
        uint64_t offsets[kPartsPerProjection] = {places.data, places.scales, places.factors};
        if (projection == Projection::kGate && sources.form.parts_gate_and_up()) {
            offsets[1] = offsets[0] + ranges[0].bytes;
            offsets[2] = offsets[1] + ranges[1].bytes;
        }
        for (size_t part = 0; part < kPartsPerProjection; ++part, ++ranges) {
            if (ranges->bytes != 0) reads.push_back({.source = *ranges, .slot_offset = offsets[part]});
        }
    }
    std::ranges::sort(reads, {},
                      [](const ExpertRead& read) { return std::tuple(read.source.file, read.source.offset); });
    size_t last = 0;
    for (size_t i = 1; i < reads.size(); ++i) {
        ExpertRead& before = reads[last];
        const bool follows = reads[i].source.file == before.source.file &&
                             reads[i].source.offset == before.source.offset + before.source.bytes &&
                             reads[i].slot_offset == before.slot_offset + before.source.bytes;
        if (follows) {
            before.source.bytes += reads[i].source.bytes;
        } else {
            reads[++last] = reads[i];
        }
    }
    reads.resize(last + 1);
    return reads;
}

}  // namespace sluice
