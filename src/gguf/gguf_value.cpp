#include "gguf/gguf_value.h"

#include <array>
#include <bit>
#include <cstring>

namespace sluice {

namespace {

struct TypeRow {
    size_t bytes;
    std::string_view name;
};
// By number.
constexpr std::array<TypeRow, 13> kTypes = {{
    {1, "an 8-bit unsigned integer"},
    {1, "an 8-bit integer"},
    {2, "a 16-bit unsigned integer"},
    {2, "a 16-bit integer"},
    {4, "a 32-bit unsigned integer"},
    {4, "a 32-bit integer"},
    {4, "a 32-bit float"},
    {1, "a boolean"},
    {0, "a string"},
    {0, "an array"},
    {8, "a 64-bit unsigned integer"},
    {8, "a 64-bit integer"},
    {8, "a 64-bit float"},
}};

const TypeRow& row_of(GgufType type) {
    return kTypes[static_cast<size_t>(type)];
}

std::string_view text_at(const std::byte* bytes, uint64_t length) {
    return {reinterpret_cast<const char*>(bytes), length};
}

}  // namespace

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies");

template <typename T>
T gguf_number(const std::byte* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}
template uint16_t gguf_number(const std::byte*);
template uint32_t gguf_number(const std::byte*);
template uint64_t gguf_number(const std::byte*);

size_t gguf_type_bytes(GgufType type) {
    return row_of(type).bytes;
}

std::string_view gguf_type_name(GgufType type) {
    return row_of(type).name;
}

bool is_gguf_type(uint32_t number) {
    return number < kTypes.size();
}

std::optional<int64_t> GgufValue::integer(uint64_t index) const {
    const std::byte* at = bytes_.data() + index * gguf_type_bytes(type_);
    switch (type_) {
        case GgufType::kU8:
            return gguf_number<uint8_t>(at);
        case GgufType::kI8:
            return gguf_number<int8_t>(at);
        case GgufType::kU16:
            return gguf_number<uint16_t>(at);
        case GgufType::kI16:
            return gguf_number<int16_t>(at);
        case GgufType::kU32:
            return gguf_number<uint32_t>(at);
        case GgufType::kI32:
            return gguf_number<int32_t>(at);
        case GgufType::kI64:
            return gguf_number<int64_t>(at);
        case GgufType::kU64: {
            const auto value = gguf_number<uint64_t>(at);
            if (value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
            return static_cast<int64_t>(value);
        }
        default:
            return std::nullopt;
    }
}

std::optional<double> GgufValue::number(uint64_t index) const {
    const std::byte* at = bytes_.data() + index * gguf_type_bytes(type_);
    if (type_ == GgufType::kF32) return gguf_number<float>(at);
    if (type_ == GgufType::kF64) return gguf_number<double>(at);
    const std::optional<int64_t> whole = integer(index);
    return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
}

// One byte; other values than 0 and 1 are met and mean true.
std::optional<bool> GgufValue::boolean(uint64_t index) const {
    if (type_ != GgufType::kBool) return std::nullopt;
    return bytes_[index] != std::byte{0};
}

std::optional<std::string_view> GgufValue::text() const {
    if (type_ != GgufType::kString || array_) return std::nullopt;
    return text_at(bytes_.data() + sizeof(uint64_t), bytes_.size() - sizeof(uint64_t));
}

void GgufValue::each_text(const std::function<void(std::string_view)>& take) const {
    if (type_ != GgufType::kString) return;
    const std::byte* at = bytes_.data();
    for (uint64_t i = 0; i < count_; ++i) {
        const auto length = gguf_number<uint64_t>(at);
        take(text_at(at + sizeof length, length));
        at += sizeof length + length;
    }
}

}  // namespace sluice
