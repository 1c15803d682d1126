#include "checkpoint/packed_layout.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/json_fields.h"
#include "tensor/codecs.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {

constexpr size_t kHexDigits = 16;

constexpr const char* kTiled = "tiled";

nlohmann::json format_to_json(const ProjectionLayout& matrix) {
    const WeightFormat& format = matrix.format;
    const Codec& codec = *format.codec;
    nlohmann::json json = {{"kind", codec.name}};
    if (codec.dtype_stated || format.dtype != codec.standard.dtype) json["dtype"] = dtype_name(format.dtype);
    for (const FormatParameter& parameter : codec.parameters) json[parameter.name] = format.*parameter.value;
    if (matrix.tiled) json[kTiled] = true;
    return json;
}

DType read_dtype(const JsonFields& fields, const Codec& codec) {
    const std::string otherwise(codec.dtype_stated ? "" : dtype_name(codec.standard.dtype));
    const std::string name = fields.string_or("dtype", otherwise);
    const std::optional<DType> dtype = dtype_from_name(name);
    if (!dtype || std::ranges::find(codec.dtypes, *dtype) == codec.dtypes.end()) {
        fields.reject(ErrorCode::kUnsupported, "dtype", "\"{}\" is not supported: {}", name, codec.choices());
    }
    return *dtype;
}

WeightFormat format_from_json(const JsonFields& fields, int64_t columns) {
    const std::string kind = fields.string_or("kind", "");
    const Codec* codec = find_codec(kind);
    if (codec == nullptr) fields.reject(ErrorCode::kUnsupported, "kind", "\"{}\" is not supported", kind);
    WeightFormat format = codec->standard;
    if (!codec->dtypes.empty()) format.dtype = read_dtype(fields, *codec);
    for (const FormatParameter& parameter : codec->parameters) {
        format.*parameter.value = static_cast<int>(fields.integer(parameter.name, 1, FormatParameter::kLargest));
    }
    if (!format.supported()) {
        fields.reject(ErrorCode::kUnsupported, "kind", "{} is not supported: {}", format.describe(), codec->choices());
    }
    if (columns % format.run_columns() != 0) {
        fields.reject(ErrorCode::kInvalidFile, "group_size", "{} does not divide {} columns", format.run_columns(),
                      columns);
    }
    return format;
}

}  // namespace

std::string packed_experts_name(int layer) {
    return fmt::format("sluice.layers.{}.experts", layer);
}

std::string packed_format_key(int layer) {
    return fmt::format("sluice.layers.{}.format", layer);
}

std::string packed_checksums_key(int layer) {
    return fmt::format("sluice.layers.{}.checksums", layer);
}

std::string packed_format_text(const ExpertLayout& layout) {
    const nlohmann::json json = {{"gate", format_to_json(layout.gate)},
                                 {"up", format_to_json(layout.up)},
                                 {"down", format_to_json(layout.down)}};
    return json.dump();
}

ExpertLayout read_packed_format(std::string_view text, int64_t hidden, int64_t intermediate, const std::string& where,
                                bool gated) {
    const nlohmann::json json = parse_json(text, where);
    const JsonFields fields(json, where);
    const auto matrix = [&](std::string_view name) {
        const std::optional<JsonFields> format = fields.object(name);
        if (!format) fields.reject(ErrorCode::kInvalidFile, name, "missing");
        return *format;
    };
    const JsonFields gate = matrix("gate"), up = matrix("up"), down = matrix("down");
    ExpertLayout layout = make_expert_layout(format_from_json(gate, hidden), format_from_json(up, hidden),
                                             format_from_json(down, intermediate), hidden, intermediate, gated);
    const auto read_tiled = [](const JsonFields& stored, ProjectionLayout& part) {
        part.tiled = stored.boolean_or(kTiled, false);
        if (!part.tiled || fits_tiles(part.format, part.rows, part.columns)) return;
        stored.reject(ErrorCode::kInvalidFile, kTiled, "{} rows of {} do not stand in tiles", part.rows,
                      part.format.describe());
    };
    read_tiled(gate, layout.gate);
    read_tiled(up, layout.up);
    read_tiled(down, layout.down);
    return layout;
}

std::string packed_checksums_text(std::span<const uint64_t> checksums) {
    std::string text;
    for (const uint64_t checksum : checksums) text += fmt::format("{}{:016x}", text.empty() ? "" : " ", checksum);
    return text;
}

std::vector<uint64_t> read_packed_checksums(std::string_view text, size_t count, const std::string& where) {
    std::vector<uint64_t> checksums;
    for (size_t start = 0; start + kHexDigits <= text.size(); start += kHexDigits + 1) {
        const char* const end = text.data() + start + kHexDigits;
        uint64_t checksum = 0;
        const auto [stop, error] = std::from_chars(text.data() + start, end, checksum, 16);
        const bool separated = start + kHexDigits == text.size() || *end == ' ';
        if (error != std::errc() || stop != end || !separated) {
            fail(ErrorCode::kInvalidFile, "{}: character {} is not part of a list of checksums", where, start);
        }
        checksums.push_back(checksum);
    }
    if (checksums.size() != count || text.size() != count * (kHexDigits + 1) - 1) {
        fail(ErrorCode::kInvalidFile, "{}: {} checksums belong here, one per expert", where, count);
    }
    return checksums;
}

void apply_packed_blocks(std::string_view text, std::span<StoredTensor> tensors, const std::string& where) {
    const nlohmann::json json = parse_json(text, where);
    const JsonFields fields(json, where);
    for (StoredTensor& tensor : tensors) {
        SafetensorsEntry& entry = tensor.entry;
        if (!fields.has(entry.name)) continue;
        const std::string name = fields.string_or(entry.name, "");
        const Codec* codec = find_codec(name);
        if (codec == nullptr || codec->block == nullptr) {
            fields.reject(ErrorCode::kUnsupported, entry.name, "\"{}\" is not supported", name);
        }
        const DataBlock block = codec->block(codec->standard);
        if (entry.dtype != DType::kU8 || entry.shape.empty() || entry.shape.back() % block.bytes != 0) {
            fields.reject(ErrorCode::kInvalidFile, entry.name, "not U8 in rows of {} bytes and multiples of them",
                          block.bytes);
        }
        entry.shape.back() = entry.shape.back() / block.bytes * block.columns;
        tensor.codec = codec;
    }
}

std::string metadata_value(const FileMetadata& metadata, std::string_view key) {
    const auto found = metadata.find(std::string(key));
    return found == metadata.end() ? std::string() : found->second;
}

ExpertShare packed_share(const FileMetadata& metadata) {
    return read_share(metadata_value(metadata, kPackedShareKey), std::numeric_limits<int64_t>::max(), kPackedShareKey);
}

uint64_t record_checksum(std::span<const std::byte> record) {
    return XXH3_64bits(record.data(), record.size());
}

}  // namespace sluice
