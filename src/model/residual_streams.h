#pragma once

#include <cstddef>
#include <memory>

#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

enum class LayerPart : uint8_t { kMixer, kFeedForward };

// One block of the model.
struct BlockPlace {
    size_t layer = 0;
    LayerPart part{};
};

// Memory of a pass.
struct ResidualRows {
    Tensor streams;       // [rows, streams * hidden]: the residual, one stream after the other
    Tensor read;          // [rows, hidden]: what a block reads of it, before the block's norm
    Tensor added;         // [rows, hidden]: what a block computes; empty where all add it themselves
    Tensor coefficients;  // [rows, *]: what add() needs to know of the read() before it; empty: nothing
    Tensor scratch = {};  // of the residual itself
};

// The residual of a pass: what runs through all layers, how a block reads it, and how it takes what the block computes.
class ResidualStreams {
  public:
    virtual ~ResidualStreams() = default;
    // How many there are; all begin as the embedding.
    virtual int64_t count() const = 0;
    // The residual is `read`, and a block may add to it.
    virtual bool plain() const { return false; }
    virtual ResidualRows take(int64_t rows, Workspace& workspace) const = 0;
    // Fills in `read`; until add() for the same block nothing else of the rows but `added` may change.
    virtual void read(Backend& backend, const BlockPlace& place, const ResidualRows& rows) const = 0;
    // Brings `added` into the streams.
    virtual void add(Backend& backend, const BlockPlace& place, const ResidualRows& rows) const = 0;
    // Fills in `read` with what the head's norm is to read.
    virtual void end(Backend& backend, const ResidualRows& rows) const = 0;
};

// One stream that blocks add to.
std::unique_ptr<ResidualStreams> make_residual(const PlainResidual& residual, const ModelConfig& config, Trunk& trunk);
// Streams that each block reads a weighed sum of, and whose sums they become behind it.
std::unique_ptr<ResidualStreams> make_residual(const HyperConnectionConfig& residual, const ModelConfig& config,
                                               Trunk& trunk);

// Streams that each block reads and adds to through gates.
std::unique_ptr<ResidualStreams> make_residual(const GatedStreamsConfig& residual, const ModelConfig& config,
                                               Trunk& trunk);

}  // namespace sluice
