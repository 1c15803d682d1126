#pragma once

#include <cstdint>
#include <filesystem>

#include "sluice/pack.h"

namespace sluice {

// pack() with files of about `shard_bytes`, at least one layer's records each.
PackReport pack_in_shards(const std::filesystem::path& source, const std::filesystem::path& target,
                          const PackOptions& options, uint64_t shard_bytes, const BytesCallback& progress = {});

}  // namespace sluice
