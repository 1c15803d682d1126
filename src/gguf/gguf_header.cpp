#include "gguf/gguf_header.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/stand_in.h"

namespace sluice {

namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldestVersion = 2, kNewestVersion = 3;
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr uint64_t kUsualAlignment = 32, kLargestAlignment = uint64_t{1} << 20;
// Far above any file, and small enough that what is kept of each stays small.
constexpr uint64_t kMostPairs = 1 << 16, kMostTensors = 1 << 17;
constexpr size_t kMostDimensions = 4;
constexpr size_t kLongestPrinted = 80;

// Takes one thing after the other from the front of a file.
class Cursor {
  public:
    Cursor(std::span<const std::byte> file, const std::string& label) : file_(file), label_(label) {}

    uint64_t position() const { return position_; }
    uint64_t left() const { return file_.size() - position_; }

    std::span<const std::byte> take(uint64_t bytes, std::string_view what) {
        if (bytes > left()) {
            fail(ErrorCode::kInvalidFile, "{}: cut off: {} at byte {} needs {} bytes, but the file has {} more", label_,
                 what, position_, bytes, left());
        }
        const std::span<const std::byte> taken = file_.subspan(position_, bytes);
        position_ += bytes;
        return taken;
    }

    template <typename T>
    T number(std::string_view what) {
        return gguf_number<T>(take(sizeof(T), what).data());
    }

    std::string_view text(std::string_view what) {
        const auto length = number<uint64_t>(what);
        const std::span<const std::byte> bytes = take(length, what);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

  private:
    std::span<const std::byte> file_;
    const std::string& label_;
    uint64_t position_ = 0;
};

GgufType read_type(Cursor& cursor, const std::string& label, std::string_view key) {
    const auto type = cursor.number<uint32_t>("the type of a value");
    if (!is_gguf_type(type)) {
        fail(ErrorCode::kUnsupported, "{}: {}: its value is of type {}, which is not known", label,
             GgufHeader::printable(key), type);
    }
    return static_cast<GgufType>(type);
}

GgufValue read_value(Cursor& cursor, const std::string& label, std::string_view key) {
    GgufType type = read_type(cursor, label, key);
    const bool array = type == GgufType::kArray;
    uint64_t count = 1;
    if (array) {
        type = read_type(cursor, label, key);
        if (type == GgufType::kArray) {
            fail(ErrorCode::kUnsupported, "{}: {}: arrays of arrays are not supported", label,
                 GgufHeader::printable(key));
        }
        count = cursor.number<uint64_t>("the length of an array");
    }
    const std::string what = "the value of " + GgufHeader::printable(key);
    if (const size_t bytes = gguf_type_bytes(type); bytes != 0) {
        if (count > cursor.left() / bytes) cursor.take(std::numeric_limits<uint64_t>::max(), what);
        return {type, array, count, cursor.take(count * bytes, what)};
    }
    Cursor start = cursor;
    for (uint64_t i = 0; i < count; ++i) cursor.text(what);
    return {type, array, count, start.take(cursor.position() - start.position(), what)};
}

void check_magic(std::span<const std::byte> file, const std::string& label) {
    const std::string_view start(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 8));
    if (start.starts_with(kMagic)) return;
    const std::string stand_in = stand_in_text(start, "a GGUF file");
    if (!stand_in.empty()) fail(ErrorCode::kInvalidFile, "{}: {}", label, stand_in);
    fail(ErrorCode::kInvalidFile, "{}: not a GGUF file: it begins with \"{}\", not with \"{}\"", label,
         GgufHeader::printable(start.substr(0, kMagic.size())), kMagic);
}

void check_version(uint32_t version, const std::string& label) {
    if (version >= kOldestVersion && version <= kNewestVersion) return;
    if (__builtin_bswap32(version) <= kNewestVersion && version != 0) {
        fail(ErrorCode::kUnsupported, "{}: big-endian (version field {:#010x}); only little-endian GGUF is read", label,
             version);
    }
    fail(ErrorCode::kUnsupported, "{}: GGUF version {} is not supported, only {} and {}", label, version,
         kOldestVersion, kNewestVersion);
}

GgufTensor read_tensor(Cursor& cursor, const std::string& label) {
    GgufTensor tensor;
    tensor.name = cursor.text("the name of a tensor");
    const auto refuse = [&](std::string_view what) {
        fail(ErrorCode::kInvalidFile, "{}: tensor {}: {}", label, GgufHeader::printable(tensor.name), what);
    };
    if (tensor.name.empty()) refuse("its name is empty");
    tensor.dimensions = cursor.number<uint32_t>("the table of tensors");
    if (tensor.dimensions == 0 || tensor.dimensions > kMostDimensions) {
        refuse(fmt::format("{} dimensions, where 1 to {} are possible", tensor.dimensions, kMostDimensions));
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < tensor.dimensions; ++i) {
        const auto size = cursor.number<uint64_t>("the table of tensors");
        if (size == 0) refuse(fmt::format("dimension {} is 0", i));
        if (__builtin_mul_overflow(elements, size, &elements) || elements > static_cast<uint64_t>(INT64_MAX)) {
            refuse("its dimensions are larger than any file");
        }
        tensor.sizes[i] = size;
    }
    tensor.type = cursor.number<uint32_t>("the table of tensors");
    tensor.offset = cursor.number<uint64_t>("the table of tensors");
    return tensor;
}

void check_distinct(const std::vector<GgufTensor>& tensors, const std::string& label) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const GgufTensor& tensor : tensors) names.push_back(tensor.name);
    std::ranges::sort(names);
    const auto twice = std::ranges::adjacent_find(names);
    if (twice == names.end()) return;
    fail(ErrorCode::kInvalidFile, "{}: tensor {} occurs twice", label, GgufHeader::printable(*twice));
}

}  // namespace

GgufHeader GgufHeader::parse(std::span<const std::byte> file, std::string label) {
    GgufHeader header;
    header.label_ = std::move(label);
    const std::string& name = header.label_;
    check_magic(file, name);
    Cursor cursor(file, name);
    cursor.take(kMagic.size(), "the header");
    check_version(cursor.number<uint32_t>("the header"), name);
    const auto tensors = cursor.number<uint64_t>("the header");
    const auto pairs = cursor.number<uint64_t>("the header");
    if (pairs > kMostPairs || tensors > kMostTensors) {
        fail(ErrorCode::kInvalidFile,
             "{}: says that it has {} pairs of metadata and {} tensors, but at most {} and {} are possible", name,
             pairs, tensors, kMostPairs, kMostTensors);
    }
    const uint64_t first = cursor.position();
    for (uint64_t i = 0; i < pairs; ++i) {
        const std::string_view key = cursor.text("a key");
        if (key.empty()) fail(ErrorCode::kInvalidFile, "{}: metadata pair {} has no key", name, i);
        if (!header.values_.try_emplace(key, read_value(cursor, name, key)).second) {
            header.reject(ErrorCode::kInvalidFile, key, "this key occurs twice");
        }
    }
    header.metadata_bytes_ = file.subspan(first, cursor.position() - first);
    for (uint64_t i = 0; i < tensors; ++i) header.tensors_.push_back(read_tensor(cursor, name));
    check_distinct(header.tensors_, name);
    const int64_t alignment = header.integer_or(kAlignmentKey, static_cast<int64_t>(kUsualAlignment));
    header.alignment_ = static_cast<uint64_t>(alignment);
    if (!std::has_single_bit(header.alignment_) || header.alignment_ > kLargestAlignment) {
        header.reject(ErrorCode::kInvalidFile, kAlignmentKey, "{} is not a power of two up to {}", alignment,
                      kLargestAlignment);
    }
    header.data_offset_ = (cursor.position() + header.alignment_ - 1) & ~(header.alignment_ - 1);
    return header;
}

std::string GgufHeader::metadata_alone() const {
    std::string file(kMagic);
    const auto put = [&file](auto value) {
        char bytes[sizeof value];
        std::memcpy(bytes, &value, sizeof value);
        file.append(bytes, sizeof value);
    };
    put(kNewestVersion);
    put(uint64_t{0});
    put(static_cast<uint64_t>(values_.size()));
    return file.append(reinterpret_cast<const char*>(metadata_bytes_.data()), metadata_bytes_.size());
}

std::string GgufHeader::printable(std::string_view name) {
    std::string text(name.substr(0, kLongestPrinted));
    std::ranges::replace_if(
        text, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    return name.size() > kLongestPrinted ? text + "..." : text;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
}

const GgufValue& GgufHeader::require(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) reject(ErrorCode::kInvalidFile, key, "this key is missing");
    return *value;
}

void GgufHeader::reject_type(std::string_view key, std::string_view wanted) const {
    const GgufValue& value = require(key);
    reject(ErrorCode::kInvalidFile, key, "{}{}, but {} belongs here", value.is_array() ? "an array with " : "",
           gguf_type_name(value.type()), wanted);
}

int64_t GgufHeader::integer(std::string_view key) const {
    const GgufValue& value = require(key);
    std::optional<int64_t> common;
    for (uint64_t i = 0; i < value.count(); ++i) {
        const std::optional<int64_t> item = value.integer(i);
        if (!item) reject_type(key, "a whole number");
        if (common && *common != 0 && *item != 0 && *item != *common) {
            reject(ErrorCode::kUnsupported, key, "{} in one layer and {} in another is not supported", *common, *item);
        }
        if (!common || *common == 0) common = item;
    }
    if (!common) reject(ErrorCode::kInvalidFile, key, "an empty array, but a whole number belongs here");
    return *common;
}

int64_t GgufHeader::integer_or(std::string_view key, int64_t fallback) const {
    return has(key) ? integer(key) : fallback;
}

double GgufHeader::number(std::string_view key) const {
    const GgufValue& value = require(key);
    const std::optional<double> number = value.is_array() ? std::nullopt : value.number();
    if (!number) reject_type(key, "a number");
    if (!std::isfinite(*number)) reject(ErrorCode::kInvalidFile, key, "{} is no number", *number);
    return *number;
}

double GgufHeader::number_or(std::string_view key, double fallback) const {
    return has(key) ? number(key) : fallback;
}

bool GgufHeader::boolean_or(std::string_view key, bool fallback) const {
    if (!has(key)) return fallback;
    const std::optional<bool> flag = find(key)->is_array() ? std::nullopt : find(key)->boolean();
    if (!flag) reject_type(key, "a boolean");
    return *flag;
}

std::string_view GgufHeader::text(std::string_view key) const {
    const std::optional<std::string_view> text = require(key).text();
    if (!text) reject_type(key, "a string");
    return *text;
}

std::string_view GgufHeader::text_or(std::string_view key, std::string_view fallback) const {
    return has(key) ? text(key) : fallback;
}

std::vector<int64_t> GgufHeader::integers(std::string_view key) const {
    std::vector<int64_t> items;
    const GgufValue* value = find(key);
    for (uint64_t i = 0; value != nullptr && i < value->count(); ++i) {
        const std::optional<int64_t> item = value->integer(i);
        if (!item) reject_type(key, "a whole number, or an array of them");
        items.push_back(*item);
    }
    return items;
}

std::vector<bool> GgufHeader::booleans(std::string_view key) const {
    std::vector<bool> flags;
    const GgufValue* value = find(key);
    for (uint64_t i = 0; value != nullptr && i < value->count(); ++i) {
        const std::optional<bool> flag = value->boolean(i);
        if (!flag) reject_type(key, "a boolean, or an array of them");
        flags.push_back(*flag);
    }
    return flags;
}

}  // namespace sluice
