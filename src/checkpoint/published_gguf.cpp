// A model in GGUF, one file or the parts of one, as if it were published in safetensors: names, shapes and the text of
// a config.json that says what its metadata says.

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_types.h"
#include "checkpoint/header_digest.h"
#include "checkpoint/published.h"
#include "gguf/gguf_files.h"

namespace sluice {

namespace {

using std::filesystem::path;

constexpr int64_t kMostParts = 99999;  // that five digits count
constexpr std::string_view kRotaryDivisors = "rope_freqs.weight";

std::vector<GgufFile> open_parts(const path& first) {
    std::vector<GgufFile> parts;
    parts.push_back(GgufFile::open(first));
    const GgufHeader& header = parts.front().header;
    const int64_t count = header.integer_or("split.count", 1);
    if (count < 0 || count > kMostParts) {
        header.reject(ErrorCode::kInvalidFile, "split.count", "{} parts, where 1 to {} are possible", count,
                      kMostParts);
    }
    for (int64_t part = 2; part <= count; ++part) {
        const std::optional<path> name = gguf_part(first, static_cast<uint64_t>(part), static_cast<uint64_t>(count));
        if (!name) {
            header.reject(ErrorCode::kInvalidFile, "split.count",
                          "{}, but the name of the file is not PREFIX-00001-of-{:05}.gguf", count, count);
        }
        if (!std::filesystem::exists(*name)) {
            fail(ErrorCode::kNotFound, "{}: no such file, but {} is the first of {} parts", name->string(),
                 first.filename().string(), count);
        }
        parts.push_back(GgufFile::open(*name));
    }
    return parts;
}

void check_parts(const std::vector<GgufFile>& parts) {
    if (parts.size() == 1) return;
    uint64_t tensors = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
        const GgufHeader& header = parts[i].header;
        const int64_t number = header.integer("split.no");
        if (number != static_cast<int64_t>(i)) {
            header.reject(ErrorCode::kInvalidFile, "split.no", "{}, but by its name the file is part {} from 0", number,
                          i);
        }
        tensors += header.tensors().size();
    }
    const GgufHeader& first = parts.front().header;
    const int64_t said = first.integer_or("split.tensors.count", static_cast<int64_t>(tensors));
    if (said != static_cast<int64_t>(tensors)) {
        first.reject(ErrorCode::kInvalidFile, "split.tensors.count", "{}, but the {} parts hold {} tensors", said,
                     parts.size(), tensors);
    }
}

// A tensor as it lies in its file.
struct Placed {
    const GgufTensor* tensor = nullptr;
    GgufTensorType type;
    std::string where;  // "FILE: tensor NAME"
    uint32_t file = 0;
    uint64_t offset = 0;  // from the start of the file
    uint64_t bytes = 0;

    int64_t columns() const { return static_cast<int64_t>(tensor->sizes[0]); }
    uint64_t row_bytes(int64_t columns) const {
        if (type.codec != nullptr) return type.codec->standard.data_row_bytes(columns);
        return static_cast<uint64_t>(columns) * dtype_bytes(type.dtype);
    }
};

// The bytes of the tensor, inside of its file.
Placed place(const GgufFile& file, uint32_t number, const GgufTensor& tensor) {
    Placed placed{.tensor = &tensor, .type = {}, .where = {}, .file = number};
    placed.where = fmt::format("{}: tensor {}", file.header.label(), GgufHeader::printable(tensor.name));
    placed.type = gguf_tensor_type(tensor.type, placed.where);
    const auto refuse = [&](const std::string& what) { fail(ErrorCode::kInvalidFile, "{}: {}", placed.where, what); };
    const int64_t run = placed.type.codec != nullptr ? placed.type.codec->standard.run_columns() : 1;
    if (placed.columns() % run != 0) {
        refuse(fmt::format("{} has blocks of {}, which do not divide its {} columns", placed.type.name, run,
                           placed.columns()));
    }
    uint64_t rows = 1;
    for (size_t i = 1; i < tensor.sizes.size(); ++i) rows *= tensor.sizes[i];  // fits: checked with the header
    if (__builtin_mul_overflow(placed.row_bytes(placed.columns()), rows, &placed.bytes)) {
        refuse("its dimensions are larger than any file");
    }
    if (tensor.offset % file.header.alignment() != 0) {
        refuse(fmt::format("its offset {} is no multiple of the alignment {}", tensor.offset, file.header.alignment()));
    }
    const uint64_t size = file.mapping->bytes().size();
    const bool inside = !__builtin_add_overflow(file.header.data_offset(), tensor.offset, &placed.offset) &&
                        placed.offset <= size && placed.bytes <= size - placed.offset;
    if (!inside) {
        refuse(
            fmt::format("offset {} and {} bytes of data end past the file's {} bytes: it is truncated, or the "
                        "offset is wrong",
                        tensor.offset, placed.bytes, size));
    }
    return placed;
}

void check_overlap(std::vector<Placed> tensors) {
    std::ranges::sort(tensors, {}, [](const Placed& t) { return std::pair(t.file, t.offset); });
    for (size_t i = 1; i < tensors.size(); ++i) {
        const Placed& before = tensors[i - 1];
        if (before.file != tensors[i].file || before.offset + before.bytes <= tensors[i].offset) continue;
        fail(ErrorCode::kInvalidFile, "{}: its data begin inside those of tensor {}", tensors[i].where,
             GgufHeader::printable(before.tensor->name));
    }
}

// The shape as safetensors has it, the contiguous dimension last. Sizes of 1 may be missing in the file, or be too
// many.
std::vector<int64_t> shape_of(const GgufTensor& tensor, std::optional<GgufShape> wanted) {
    std::vector<int64_t> shape(tensor.sizes.begin(), tensor.sizes.begin() + tensor.dimensions);
    while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
    std::ranges::reverse(shape);
    if (!wanted) return shape;
    if (*wanted == GgufShape::kConvolution) {
        while (shape.size() < 2) shape.insert(shape.begin(), 1);
        shape.push_back(1);
    }
    const size_t rank = *wanted == GgufShape::kHeads ? 3 : *wanted == GgufShape::kMatrix ? 2 : 1;
    while (shape.size() < rank) shape.insert(shape.begin(), 1);
    return shape;
}

using Factors = std::set<std::string_view, std::less<>>;

class Translator {
  public:
    Translator(Published& published, const GgufNames& names, const ModelConfig& config)
        : published_(published), config_(config), names_(names) {}

    // `factors`: names of the factors that the files hold.
    void add(const Placed& placed, const Factors& factors) {
        if (placed.tensor->name == kRotaryDivisors) return require_divided(placed);
        const GgufTensorName name = names_.translate(placed.tensor->name);
        const GroupedAttentionConfig* attention = fused_attention(placed, name);
        StoredTensor stored = stored_of(placed, name);
        if (name.shape || attention != nullptr) use_factor(placed, name, factors, stored);
        if (attention != nullptr) {
            split_attention(placed, name, *attention, stored);
        } else {
            published_.tensors.push_back(std::move(stored));
        }
    }

  private:
    // They change the rotation of every token, and are part of the config where that is known.
    void require_divided(const Placed& placed) const {
        for (const LayerConfig& layer : config_.layers) {
            const auto* attention = block_of<GroupedAttentionConfig>(layer);
            if (attention != nullptr && !attention->rotary.divisors.empty()) return;
        }
        fail(ErrorCode::kUnsupported, "{}: factors of rotary frequencies are not supported in this architecture",
             placed.where);
    }

    static StoredTensor stored_of(const Placed& placed, const GgufTensorName& name) {
        StoredTensor stored;
        stored.stored_name = GgufHeader::printable(placed.tensor->name);
        stored.entry.name = name.shape ? name.name : GgufHeader::printable(name.name);
        stored.entry.dtype = placed.type.dtype;
        stored.entry.shape = shape_of(*placed.tensor, name.shape);
        stored.entry.offset = placed.offset;
        stored.entry.bytes = placed.bytes;
        stored.file = placed.file;
        stored.codec = placed.type.codec;
        return stored;
    }

    // Where a factor of the whole matrix stands beside it, its values are others.
    static void use_factor(const Placed& placed, const GgufTensorName& name, const Factors& factors,
                           StoredTensor& stored) {
        constexpr std::string_view kWeight = ".weight";
        const std::string_view stored_name = placed.tensor->name;
        if (name.factor || !stored_name.ends_with(kWeight)) return;
        const std::string factor = fmt::format("{}.scale", stored_name.substr(0, stored_name.size() - kWeight.size()));
        if (!factors.contains(factor)) return;
        if (placed.type.with_factor == nullptr) {
            fail(ErrorCode::kUnsupported, "{}: a factor beside it, {}, is not supported for {} here", placed.where,
                 factor, placed.type.name);
        }
        stored.codec = placed.type.with_factor;
    }

    // Of a matrix that holds query, key and value above each other, or of its factor; null for any other.
    const GroupedAttentionConfig* fused_attention(const Placed& placed, const GgufTensorName& name) const {
        const std::string_view text = placed.tensor->name;
        const bool named = text.ends_with(".attn_qkv.weight") || text.ends_with(".attn_qkv.scale");
        if (!named || name.layer < 0 || name.layer >= config_.layer_count()) return nullptr;
        return block_of<GroupedAttentionConfig>(config_.layers[static_cast<size_t>(name.layer)]);
    }

    void split_attention(const Placed& placed, const GgufTensorName& name, const GroupedAttentionConfig& attention,
                         StoredTensor stored) {
        const int64_t width = attention.heads * attention.head_dim, kv_width = attention.kv_heads * attention.head_dim;
        const std::pair<Role, int64_t> parts[] = {
            {Role::kQuery, attention.gated ? 2 * width : width}, {Role::kKey, kv_width}, {Role::kValue, kv_width}};
        const int64_t rows = parts[0].second + 2 * kv_width;
        const bool factor = placed.tensor->name.ends_with(".scale");
        if (!factor && (stored.entry.shape.size() != 2 || stored.entry.shape.front() != rows)) {
            fail(ErrorCode::kInvalidFile, "{}: {} rows, but query, key and value together have {}", placed.where,
                 stored.entry.shape.front(), rows);
        }
        for (const auto& [role, part_rows] : parts) {
            StoredTensor part = stored;
            part.entry.name = names_.of_role(name.layer, role);
            if (factor) {
                part.entry.name.replace(part.entry.name.rfind(".weight"), std::string::npos, ".scales");
            } else {
                part.entry.shape.front() = part_rows;
                part.entry.bytes = static_cast<uint64_t>(part_rows) * placed.row_bytes(placed.columns());
                stored.entry.offset += part.entry.bytes;
            }
            published_.tensors.push_back(std::move(part));
        }
    }

    Published& published_;
    const ModelConfig& config_;
    const GgufNames& names_;
};

// The values of rope_freqs.weight; empty where no part has it.
std::vector<float> rotary_divisors(const std::vector<GgufFile>& parts, const std::vector<Placed>& tensors) {
    const auto found = std::ranges::find_if(tensors, [](const Placed& p) { return p.tensor->name == kRotaryDivisors; });
    if (found == tensors.end()) return {};
    constexpr uint64_t kMostBytes = uint64_t{1} << 20;
    if (found->type.codec != nullptr || found->type.dtype != DType::kF32 || found->bytes > kMostBytes) {
        fail(ErrorCode::kUnsupported, "{}: {} of {} bytes, but F32 for the pairs of a head belongs here", found->where,
             found->type.name, found->bytes);
    }
    std::vector<float> divisors(found->bytes / sizeof(float));
    std::memcpy(divisors.data(), parts[found->file].mapping->bytes().data() + found->offset, found->bytes);
    return divisors;
}

void check_distinct(const std::vector<Placed>& tensors) {
    std::vector<const Placed*> sorted;
    for (const Placed& placed : tensors) sorted.push_back(&placed);
    const auto name = [](const Placed* placed) { return placed->tensor->name; };
    std::ranges::sort(sorted, {}, name);
    const auto twice = std::ranges::adjacent_find(sorted, {}, name);
    if (twice == sorted.end()) return;
    fail(ErrorCode::kInvalidFile, "{}: occurs in another part, too", (*std::next(twice))->where);
}

}  // namespace

Published read_gguf(const path& first_part) {
    const std::vector<GgufFile> parts = open_parts(first_part);
    const GgufHeader& header = parts.front().header;
    const Architecture& architecture = gguf_architecture(header);
    check_parts(parts);

    const GgufNames names(architecture);
    Published published;
    published.source = first_part;
    HeaderDigest digest;
    std::vector<Placed> tensors;
    std::vector<const GgufHeader*> headers;
    Factors factors;
    for (const GgufFile& part : parts) {
        const std::span<const std::byte> bytes = part.mapping->bytes();
        const uint64_t header_bytes = std::min<uint64_t>(part.header.data_offset(), bytes.size());
        digest.add({reinterpret_cast<const char*>(bytes.data()), header_bytes});
        const auto number = static_cast<uint32_t>(published.files.size());
        published.files.push_back({part.header.label(), bytes.size()});
        published.metadata.emplace_back();
        headers.push_back(&part.header);
        for (const GgufTensor& tensor : part.header.tensors()) {
            tensors.push_back(place(part, number, tensor));
            if (names.translate(tensor.name).factor) factors.insert(tensor.name);
        }
    }
    published.header_digest = digest.hex();
    published.layout = kGgufLayout;
    published.spelling = [names](std::string_view name) { return names.spelled(name); };
    published.norms_as_used = true;
    check_distinct(tensors);
    check_overlap(tensors);
    const std::vector<float> divisors = rotary_divisors(parts, tensors);
    published.config_text = gguf_config_text(GgufHyperparameters(headers, divisors), architecture);
    published.config_label = header.label();
    const ModelConfig config = parse_model_config(published.config_text, published.config_label);
    Translator translator(published, names, config);
    for (const Placed& placed : tensors) translator.add(placed, factors);
    return published;
}

}  // namespace sluice
