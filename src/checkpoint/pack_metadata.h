#pragma once

// What a packed file's metadata says beyond packed_layout.h: what it was made from, and the checksums of trunk tensors.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/pack_plan.h"

namespace sluice {

// JSON {tensor: XXH3-64 as 16 hex digits} of the trunk tensors in the file.
inline constexpr std::string_view kTrunkChecksumsKey = "sluice.trunk.checksums";

// What a packing is made from. Two with the same fingerprint and options have the same bytes.
struct PackSource {
    std::string folder;  // for messages
    std::string fingerprint;
    std::string options;  // "--quantize affine4 --group-size 64"
    ExpertShare share;    // of its records that are there
};
PackSource make_pack_source(const Checkpoint& checkpoint, const PackOptions& options, const ExpertShare& share);
// Empty fields where the metadata does not say.
PackSource read_pack_source(const std::map<std::string, std::string>& metadata);

// All of a shard's metadata, with zeros for the checksums, which become known last.
std::map<std::string, std::string> declared_metadata(const PackShard& shard, const PackSource& source,
                                                     const std::string& format);

// Checksums of tensors that arrive in pieces; the pieces of one in order.
class TrunkChecksums {
  public:
    TrunkChecksums();
    ~TrunkChecksums();
    TrunkChecksums(const TrunkChecksums&) = delete;
    TrunkChecksums& operator=(const TrunkChecksums&) = delete;

    void update(const std::string& tensor, std::span<const std::byte> bytes);
    std::map<std::string, uint64_t> values() const;
    std::string text() const;

    // Throws kInvalidFile naming `where`.
    static std::map<std::string, uint64_t> parse(std::string_view text, const std::string& where);

  private:
    struct State;
    std::map<std::string, std::unique_ptr<State>> states_;
};

}  // namespace sluice
