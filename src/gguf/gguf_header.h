#pragma once

// The GGUF container: metadata and the table of tensors, in front of their data. Versions 2 and 3, little-endian.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "gguf/gguf_value.h"

namespace sluice {

struct GgufTensor {
    std::string_view name;
    std::array<uint64_t, 4> sizes = {1, 1, 1, 1};  // the contiguous one first; none is 0, their product fits 63 bits
    uint32_t dimensions = 0;                       // that the file gives, 1 to 4
    uint32_t type = 0;                             // by the format's numbers, of which not all are known
    uint64_t offset = 0;                           // from the start of the data area; unchecked
};

// Typed access to what stands in front of the data. Points into the file's bytes, which must outlive it. Errors are
// kInvalidFile or kUnsupported, one line that begins with the label and the key.
class GgufHeader {
  public:
    // `file`: all bytes of the file; the data's are not touched. Throws for lengths that lie, keys that occur twice,
    // types and versions that are not known, and an alignment that is none.
    static GgufHeader parse(std::span<const std::byte> file, std::string label);

    const std::string& label() const { return label_; }
    const std::vector<GgufTensor>& tensors() const { return tensors_; }
    uint64_t data_offset() const { return data_offset_; }  // may lie past the end of a file without tensors
    uint64_t alignment() const { return alignment_; }
    std::string metadata_alone() const;  // a file of all pairs and no tensors

    const GgufValue* find(std::string_view key) const;  // null where there is none
    bool has(std::string_view key) const { return find(key) != nullptr; }
    // An array in which all items are equal, those that are 0 apart, counts as that item: files write sizes that do not
    // differ from layer to layer in both ways. The first form of each throws where the key is absent.
    int64_t integer(std::string_view key) const;
    int64_t integer_or(std::string_view key, int64_t fallback) const;
    double number(std::string_view key) const;
    double number_or(std::string_view key, double fallback) const;
    bool boolean_or(std::string_view key, bool fallback) const;
    std::string_view text(std::string_view key) const;
    std::string_view text_or(std::string_view key, std::string_view fallback) const;
    // An array's items, a scalar's one; empty when absent.
    std::vector<bool> booleans(std::string_view key) const;
    std::vector<int64_t> integers(std::string_view key) const;

    template <typename... Args>
    [[noreturn]] void reject(ErrorCode code, std::string_view key, fmt::format_string<Args...> format,
                             Args&&... args) const {
        fail(code, "{}: {}: {}", label_, printable(key), fmt::format(format, std::forward<Args>(args)...));
    }
    // A name from the file on one line of ASCII, for messages.
    static std::string printable(std::string_view name);

  private:
    const GgufValue& require(std::string_view key) const;
    [[noreturn]] void reject_type(std::string_view key, std::string_view wanted) const;

    std::string label_;
    std::unordered_map<std::string_view, GgufValue> values_;
    std::vector<GgufTensor> tensors_;
    std::span<const std::byte> metadata_bytes_;
    uint64_t data_offset_ = 0;
    uint64_t alignment_ = 0;
};

}  // namespace sluice
