#pragma once

// The safetensors container: 8-byte little-endian header length, JSON header, tensor data.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "tensor/dtype.h"

namespace sluice {

inline constexpr uint64_t kSafetensorsLengthBytes = 8;  // in front of the header

struct SafetensorsEntry {
    std::string name;
    DType dtype{};
    std::vector<int64_t> shape;
    uint64_t offset = 0;  // from the start of the file
    uint64_t bytes = 0;
};

struct SafetensorsHeader {
    std::vector<SafetensorsEntry> tensors;  // in file order
    std::map<std::string, std::string> metadata;
    uint64_t data_offset = 0;  // from the start of the file
};

// Parses the header text; `data_bytes` is what follows it. Throws kInvalidFile naming `label` and the tensor: lengths
// that lie, ranges that overlap, leave holes or pass the end, shapes that contradict the range, dtypes that are not
// known.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_offset, uint64_t data_bytes,
                                           const std::string& label);
SafetensorsHeader read_safetensors_header(const File& file);
// The header's JSON as it stands in the file; throws kInvalidFile when its length cannot be true.
std::string read_safetensors_header_text(const File& file);

// A whole small file in memory, for references, traces and snapshots.
class SafetensorsReader {
  public:
    static SafetensorsReader open(const std::filesystem::path& path);
    const SafetensorsHeader& header() const { return header_; }
    const SafetensorsEntry& entry(const std::string& name) const;  // throws kNotFound
    bool has(const std::string& name) const;
    std::span<const std::byte> bytes(const std::string& name) const;
    std::vector<float> floats(const std::string& name) const;      // F32, BF16, F16
    std::vector<int64_t> integers(const std::string& name) const;  // I64, I32, U8 ...

  private:
    std::shared_ptr<const MappedFile> file_;
    SafetensorsHeader header_;
    std::unordered_map<std::string, size_t> index_;
};

// Writes a file whose tensors are declared first and then filled in any order; appears only at commit().
class SafetensorsWriter {
  public:
    struct Declaration {
        std::string name;
        DType dtype{};
        std::vector<int64_t> shape;
    };
    // `data_alignment`: the data area starts at a multiple of it (the header is padded with spaces). `privacy`: who may
    // read the file.
    SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declaration>& tensors,
                      const std::map<std::string, std::string>& metadata = {}, uint64_t data_alignment = 8,
                      Privacy privacy = Privacy::kShared);
    // Throws kUsage for a tensor that was not declared or bytes that do not fit into it. Each byte is written once.
    void write(const std::string& name, std::span<const std::byte> bytes, uint64_t offset_in_tensor = 0);
    // Replaces the value of a metadata key that was given at construction by one of the same length: for what is known
    // only when the data is, such as checksums. Throws kUsage for another key or length.
    // Leaves a tensor to be a hole in the file, which reads as zeros and takes no room.
    void leave_hole(const std::string& name);
    void set_metadata(const std::string& key, const std::string& value);
    void commit();  // throws kUsage while bytes are missing

  private:
    AtomicFile file_;
    std::vector<Declaration> tensors_;
    std::map<std::string, std::string> metadata_;
    bool metadata_changed_ = false;
    SafetensorsHeader layout_;
    std::unordered_map<std::string, size_t> index_;
    uint64_t missing_bytes_ = 0;
};

}  // namespace sluice
