#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace sluice {

// How a value of the metadata is stored, by the numbers that the format has for it.
enum class GgufType : uint32_t {
    kU8 = 0,
    kI8 = 1,
    kU16 = 2,
    kI16 = 3,
    kU32 = 4,
    kI32 = 5,
    kF32 = 6,
    kBool = 7,
    kString = 8,
    kArray = 9,
    kU64 = 10,
    kI64 = 11,
    kF64 = 12,
};

// Of one number, in bytes; 0 for strings and arrays, whose length differs.
size_t gguf_type_bytes(GgufType type);
std::string_view gguf_type_name(GgufType type);  // "a string", "a 32-bit unsigned integer", for messages
bool is_gguf_type(uint32_t number);

// A little-endian number that need not be aligned.
template <typename T>
T gguf_number(const std::byte* bytes);

// A value of the metadata where it stands in the file: a scalar, or an array of scalars. Points into the file's bytes,
// whose lengths were checked.
class GgufValue {
  public:
    GgufValue() = default;
    // `bytes` are those of the items alone.
    GgufValue(GgufType type, bool array, uint64_t count, std::span<const std::byte> bytes)
        : bytes_(bytes), count_(count), type_(type), array_(array) {}

    GgufType type() const { return type_; }  // of an array's items
    bool is_array() const { return array_; }
    uint64_t count() const { return count_; }  // of an array's items; 1 for a scalar

    // Item `index` below count(); nothing where the items are of another kind. Whole numbers of any width that fit 64
    // bits with a sign are integers; numbers of any kind are numbers.
    std::optional<int64_t> integer(uint64_t index = 0) const;
    std::optional<double> number(uint64_t index = 0) const;
    std::optional<bool> boolean(uint64_t index = 0) const;
    std::optional<std::string_view> text() const;  // of a scalar

    // Calls `take` with every string of an array, in order; nothing happens where the items are no strings.
    void each_text(const std::function<void(std::string_view)>& take) const;

  private:
    std::span<const std::byte> bytes_;
    uint64_t count_ = 0;
    GgufType type_ = GgufType::kU8;
    bool array_ = false;
};

}  // namespace sluice
