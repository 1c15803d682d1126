#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/pack_plan.h"

namespace sluice {

// Receives bytes of a declared tensor, in order.
using TensorSink = std::function<void(const std::string& name, std::span<const std::byte> bytes, uint64_t offset)>;

// Reads a checkpoint and turns it into what a packed one holds, in pieces: what is in memory at once is bounded.
class PackEncoder {
  public:
    explicit PackEncoder(const Checkpoint& checkpoint);

    // The planned records of a layer, in order, with the checksum of each.
    using RecordSink = std::function<void(std::span<const std::byte> record, uint64_t checksum)>;
    void encode_layer(const PackLayer& layer, const RecordSink& sink);
    void encode_trunk(const PackTrunk& unit, const TensorSink& sink);

    // One record; `slot` holds the expert as the source lays it out. Thread-safe.
    void encode_record(const PackLayer& layer, int64_t expert, std::span<std::byte> slot,
                       std::span<std::byte> record) const;

  private:
    // Encodes, or moves, an expert's matrices; says how those stand that are written now.
    ExpertLayout encode_matrices(const PackLayer& layer, int64_t expert, std::span<const std::byte> slot,
                                 std::span<std::byte> record) const;
    void move_trunk(const PackTrunk& unit, const TensorSink& sink);
    void encode_matrix(const PackTrunk& unit, const TensorSink& sink);

    const Checkpoint& checkpoint_;
    std::vector<File> files_;
    ThreadPool pool_;
};

}  // namespace sluice
