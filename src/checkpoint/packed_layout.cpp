#include "checkpoint/packed_layout.h"

#include <xxhash.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/quantization_config.h"

namespace sluice {

namespace {

constexpr size_t kHexDigits = 16;

nlohmann::json format_to_json(const WeightFormat& format) {
    nlohmann::json json = {{"kind", weight_kind_name(format.kind)}};
    if (format.kind == WeightKind::kFloat || format.kind == WeightKind::kAffine)
        json["dtype"] = dtype_name(format.dtype);
    if (format.kind == WeightKind::kAffine) {
        json["bits"] = format.bits;
        json["group_size"] = format.group_size;
    }
    if (format.kind == WeightKind::kFp8Block) {
        json["block_rows"] = format.block_rows;
        json["block_columns"] = format.block_columns;
        if (format.dtype != DType::kF32) json["dtype"] = dtype_name(format.dtype);
    }
    return json;
}

DType read_float_dtype(const JsonFields& fields, const std::string& otherwise = "") {
    const std::string name = fields.string_or("dtype", otherwise);
    const std::optional<DType> dtype = dtype_from_name(name);
    if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
        fields.reject(ErrorCode::kUnsupported, "dtype", "\"{}\" is not one of F32, F16 and BF16", name);
    }
    return *dtype;
}

WeightFormat format_from_json(const JsonFields& fields, int64_t columns) {
    const std::string kind = fields.string_or("kind", "");
    constexpr int64_t kLargestBlock = 1 << 16;
    WeightFormat format;
    if (kind == weight_kind_name(WeightKind::kFloat)) {
        format = WeightFormat::floating(read_float_dtype(fields));
    } else if (kind == weight_kind_name(WeightKind::kAffine)) {
        format =
            WeightFormat::affine(static_cast<int>(fields.integer("bits", 1, 8)),
                                 static_cast<int>(fields.integer("group_size", 1, 1024)), read_float_dtype(fields));
    } else if (kind == weight_kind_name(WeightKind::kFp8Block)) {
        format = WeightFormat::fp8_block(static_cast<int>(fields.integer("block_rows", 1, kLargestBlock)),
                                         static_cast<int>(fields.integer("block_columns", 1, kLargestBlock)),
                                         read_float_dtype(fields, "F32"));
    } else if (kind == weight_kind_name(WeightKind::kMxfp4)) {
        format = WeightFormat::mxfp4();
    } else if (kind == weight_kind_name(WeightKind::kMxfp8)) {
        format = WeightFormat::mxfp8();
    } else if (kind == weight_kind_name(WeightKind::kNvfp4)) {
        format = WeightFormat::nvfp4();
    } else {
        fields.reject(ErrorCode::kUnsupported, "kind", "\"{}\" is not supported", kind);
    }
    if (!format.supported()) {
        fields.reject(ErrorCode::kUnsupported, "kind", "{} is not supported", format.describe());
    }
    if (format.kind != WeightKind::kFp8Block && format.has_scales() && columns % format.group_size != 0) {
        fields.reject(ErrorCode::kInvalidFile, "group_size", "{} does not divide {} columns", format.group_size,
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
    const nlohmann::json json = {{"gate", format_to_json(layout.gate.format)},
                                 {"up", format_to_json(layout.up.format)},
                                 {"down", format_to_json(layout.down.format)}};
    return json.dump();
}

ExpertLayout read_packed_format(std::string_view text, int64_t hidden, int64_t intermediate, const std::string& where) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) fail(ErrorCode::kInvalidFile, "{}: not valid JSON", where);
    const JsonFields fields(json, where);
    const auto read = [&](std::string_view name, int64_t columns) {
        const std::optional<JsonFields> format = fields.object(name);
        if (!format) fields.reject(ErrorCode::kInvalidFile, name, "missing");
        return format_from_json(*format, columns);
    };
    const WeightFormat gate = read("gate", hidden);
    const WeightFormat up = read("up", hidden);
    const WeightFormat down = read("down", intermediate);
    return make_expert_layout(gate, up, down, hidden, intermediate);
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

uint64_t record_checksum(std::span<const std::byte> record) {
    return XXH3_64bits(record.data(), record.size());
}

}  // namespace sluice
