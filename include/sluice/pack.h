#pragma once

// Writing a checkpoint in the packed layout, one aligned read per expert, and checking it.

#include <cstdint>
#include <filesystem>
#include <string>

#include "sluice/bytes_callback.h"
#include "sluice/error.h"

namespace sluice {

struct PackOptions {
    std::string quantize = "none";  // "none", "affine4", "affine8": of BF16, F16, F32 and FP8 matrices
    int64_t group_size = 64;
    std::string shard = {};  // "K/N": every N-th expert from the K-th on, for one of N machines; empty: all
};

struct PackReport {
    uint64_t files = 0, bytes = 0, records = 0, records_reused = 0;
    std::string quantization;
};

// Writes `source` in the packed layout to `target` (made if missing). Interrupted, it goes on where it stopped when
// called again with the same source and options; another source or option in the way is refused. Throws Error.
PackReport pack(const std::filesystem::path& source, const std::filesystem::path& target, const PackOptions& options,
                const BytesCallback& progress = {});
// Reads every record of a packed checkpoint and holds it against its checksum. Throws kInvalidFile naming layer and
// expert.
PackReport verify_packed(const std::filesystem::path& model, const BytesCallback& progress = {});

}  // namespace sluice
