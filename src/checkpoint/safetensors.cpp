#include "checkpoint/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/json_events.h"
#include "base/stand_in.h"
#include "checkpoint/json_fields.h"

namespace sluice {

namespace {

constexpr uint64_t kLargestHeader = 100'000'000;  // the limit of the format's own library
constexpr size_t kLargestRank = 16;
constexpr std::string_view kMetadataKey = "__metadata__";

// Reads the header as a stream of events: a hundred thousand tensors need no tree, and a tree would hide names that
// occur twice.
class HeaderHandler : public JsonEvents {
  public:
    HeaderHandler(SafetensorsHeader& header, uint64_t data_offset, const std::string& label)
        : header_(header), data_offset_(data_offset), label_(label) {}

    bool null() override { return unexpected("null"); }
    bool boolean(bool) override { return unexpected("a boolean"); }
    bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
    bool binary(binary_t&) override { return unexpected("binary data"); }
    bool number_integer(number_integer_t value) override { fail_entry("{} is negative", value); }
    bool number_unsigned(number_unsigned_t value) override {
        if (list_ == nullptr) return unexpected("a number");
        if (list_->size() == kLargestRank) fail_entry("a list of more than {} numbers", kLargestRank);
        list_->push_back(value);
        return true;
    }
    bool string(string_t& value) override {
        if (depth_ == 2 && in_metadata_) {
            header_.metadata.insert_or_assign(key_, std::move(value));
            return true;
        }
        if (depth_ != 2 || list_ != nullptr || key_ != "dtype") return unexpected("a string");
        const std::optional<DType> dtype = dtype_from_name(value);
        if (!dtype) fail_entry("dtype \"{}\" is not known", one_line(value));
        entry_.dtype = *dtype;
        has_dtype_ = true;
        return true;
    }
    bool start_object(std::size_t) override {
        if (depth_ >= 2 || list_ != nullptr) return unexpected("an object");
        ++depth_;
        return true;
    }
    bool end_object() override {
        --depth_;
        if (depth_ == 1 && !in_metadata_) finish_entry();
        in_metadata_ = false;
        return true;
    }
    bool key(string_t& value) override {
        if (depth_ == 1) {
            start_entry(value);
        } else {
            key_ = std::move(value);
            if (!in_metadata_ && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets") {
                fail_entry("unknown field beside dtype, shape and data_offsets");
            }
        }
        return true;
    }
    bool start_array(std::size_t) override {
        if (depth_ != 2 || in_metadata_ || list_ != nullptr || key_ == "dtype") return unexpected("a list");
        list_ = key_ == "shape" ? &shape_ : &offsets_;
        (key_ == "shape" ? has_shape_ : has_offsets_) = true;
        list_->clear();
        return true;
    }
    bool end_array() override {
        list_ = nullptr;
        return true;
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
        fail(ErrorCode::kInvalidFile, "{}: the header is not valid JSON at byte {} of it", label_, position);
    }

  private:
    template <typename... Args>
    [[noreturn]] void fail_entry(fmt::format_string<Args...> format, Args&&... args) {
        fail(ErrorCode::kInvalidFile, "{}: tensor {}: {}", label_, entry_.name,
             fmt::format(format, std::forward<Args>(args)...));
    }
    bool unexpected(std::string_view what) {
        if (depth_ < 2 && entry_.name.empty()) {
            fail(ErrorCode::kInvalidFile, "{}: the header holds {} where an object of tensors belongs", label_, what);
        }
        fail_entry("{} where it does not belong", what);
    }

    void start_entry(std::string& name) {
        if (name != one_line(name)) {
            fail(ErrorCode::kInvalidFile, "{}: tensor number {} has a control character in its name", label_,
                 header_.tensors.size());
        }
        in_metadata_ = name == kMetadataKey;
        entry_ = {};
        entry_.name = std::move(name);
        has_dtype_ = has_shape_ = has_offsets_ = false;
    }

    void finish_entry() {
        if (!has_dtype_) fail_entry("dtype is missing");
        if (!has_shape_) fail_entry("shape is missing");
        if (!has_offsets_ || offsets_.size() != 2) fail_entry("data_offsets must be two numbers");
        const uint64_t begin = offsets_[0];
        const uint64_t end = offsets_[1];
        if (end < begin) fail_entry("data_offsets end at {}, before they begin at {}", end, begin);
        uint64_t bytes = dtype_bytes(entry_.dtype);
        for (const uint64_t size : shape_) {
            if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
                __builtin_mul_overflow(bytes, size, &bytes)) {
                fail_entry("shape [{}] is larger than any file", fmt::join(shape_, ", "));
            }
            entry_.shape.push_back(static_cast<int64_t>(size));
        }
        if (bytes != end - begin) {
            fail_entry("shape [{}] of {} needs {} bytes, but data_offsets hold {}", fmt::join(shape_, ", "),
                       dtype_name(entry_.dtype), bytes, end - begin);
        }
        if (__builtin_add_overflow(begin, data_offset_, &entry_.offset)) fail_entry("offset {} overflows", begin);
        entry_.bytes = bytes;
        header_.tensors.push_back(std::move(entry_));
        entry_ = {};
    }

    SafetensorsHeader& header_;
    uint64_t data_offset_;
    const std::string& label_;
    int depth_ = 0;
    bool in_metadata_ = false;
    std::string key_;
    SafetensorsEntry entry_;
    std::vector<uint64_t> shape_;
    std::vector<uint64_t> offsets_;
    std::vector<uint64_t>* list_ = nullptr;  // the list that is open
    bool has_dtype_ = false;
    bool has_shape_ = false;
    bool has_offsets_ = false;
};

void check_distinct_names(const std::vector<SafetensorsEntry>& tensors, const std::string& label) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const SafetensorsEntry& entry : tensors) names.push_back(entry.name);
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) fail(ErrorCode::kInvalidFile, "{}: tensor {} occurs twice", label, *twice);
}

// Tensors must tile the data area: whatever lies between them belongs to nobody and means a damaged file.
void check_tiling(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& label) {
    uint64_t position = header.data_offset;
    const uint64_t end = header.data_offset + data_bytes;
    for (const SafetensorsEntry& entry : header.tensors) {
        if (entry.offset < position) {
            fail(ErrorCode::kInvalidFile, "{}: tensor {} begins at byte {} of the data, inside the tensor before it",
                 label, entry.name, entry.offset - header.data_offset);
        }
        if (entry.bytes > end || entry.offset > end - entry.bytes) {
            fail(ErrorCode::kInvalidFile,
                 "{}: tensor {} ends at byte {} of the data, but the file has only {}: it is truncated", label,
                 entry.name, entry.offset + entry.bytes - header.data_offset, data_bytes);
        }
        if (entry.offset > position) {
            fail(ErrorCode::kInvalidFile, "{}: {} bytes before tensor {} belong to no tensor", label,
                 entry.offset - position, entry.name);
        }
        position = entry.offset + entry.bytes;
    }
    if (position != end) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes after the last tensor belong to no tensor", label, end - position);
    }
}

// What begins with a length that cannot be: another kind of file, or one that was cut off in its header.
[[noreturn]] void refuse_beginning(const File& file, std::string_view beginning, uint64_t length) {
    constexpr std::string_view kWanted = "a safetensors file";
    if (beginning.starts_with("GGUF")) {
        fail(ErrorCode::kUnsupported, "{}: a GGUF file, not {}; under a name that ends in .gguf it is read",
             file.label(), kWanted);
    }
    std::string stand_in = stand_in_text(beginning, kWanted);
    const bool text = std::ranges::all_of(beginning, [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n'; });
    if (stand_in.empty() && text) {
        stand_in = fmt::format("a text that begins with {}, not {}: what was to be fetched is an error",
                               one_line(std::string(beginning)), kWanted);
    }
    if (!stand_in.empty()) fail(ErrorCode::kInvalidFile, "{}: {}", file.label(), stand_in);
    fail(ErrorCode::kInvalidFile,
         "{}: not {}, or one that was cut off: its header would have {} bytes, but the file has {} and headers at "
         "most {}",
         file.label(), kWanted, length, file.size(), kLargestHeader);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_offset, uint64_t data_bytes,
                                           const std::string& label) {
    SafetensorsHeader header;
    header.data_offset = data_offset;
    if (data_bytes > std::numeric_limits<uint64_t>::max() - data_offset) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes of data are larger than any file", label, data_bytes);
    }
    HeaderHandler handler(header, data_offset, label);
    read_json_events(json, handler);
    check_distinct_names(header.tensors, label);
    std::stable_sort(header.tensors.begin(), header.tensors.end(),
                     [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                         return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
                     });
    check_tiling(header, data_bytes, label);
    return header;
}

std::string read_safetensors_header_text(const File& file) {
    if (file.size() < kSafetensorsLengthBytes) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes are too few for a safetensors file", file.label(), file.size());
    }
    std::array<std::byte, kSafetensorsLengthBytes> prefix{};
    file.read_at(0, prefix);
    uint64_t length = 0;
    for (size_t i = 0; i < kSafetensorsLengthBytes; ++i) length |= static_cast<uint64_t>(prefix[i]) << (8 * i);
    if (length > kLargestHeader || length > file.size() - kSafetensorsLengthBytes) {
        refuse_beginning(file, {reinterpret_cast<const char*>(prefix.data()), prefix.size()}, length);
    }
    std::string text(length, '\0');
    file.read_at(kSafetensorsLengthBytes, std::as_writable_bytes(std::span(text)));
    return text;
}

SafetensorsHeader read_safetensors_header(const File& file) {
    const std::string text = read_safetensors_header_text(file);
    const uint64_t data_offset = kSafetensorsLengthBytes + text.size();
    return parse_safetensors_header(text, data_offset, file.size() - data_offset, file.label());
}

}  // namespace sluice
