#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace sluice {

inline constexpr int64_t kKvPageTokens = 256;  // tokens of one layer's KV page

// What one layer keeps per sequence: a growing cache, or recurrent state of a fixed size, or nothing of either.
struct StateSpec {
    KvFormat kv_format = KvFormat::kF32;
    uint64_t kv_bytes_per_token = 0;  // 0: no cache
    int64_t convolution_rows = 0, convolution_columns = 0;
    int64_t delta_rows = 0, delta_columns = 0;

    bool recurrent() const { return delta_rows > 0; }
    uint64_t page_bytes() const { return kv_bytes_per_token * static_cast<uint64_t>(kKvPageTokens); }
    uint64_t recurrent_bytes() const;
};

// A page of one layer's cache. Sequences and their checkpoints share pages; a page with more than one owner is copied
// before it is written.
struct KvPage {
    BufferPtr buffer;
};

struct LayerState {
    std::vector<std::shared_ptr<KvPage>> pages;
    Tensor convolution;  // last inputs of the convolution, oldest first
    Tensor delta;        // the delta rule's matrix
};

// Everything a sequence keeps between steps, at `position` tokens. Copy with fork(): pages are shared, recurrent state
// is copied. One thread.
class SequenceState {
  public:
    SequenceState(Backend& backend, std::shared_ptr<const std::vector<StateSpec>> specs);

    int64_t position() const { return position_; }
    bool recurrent() const;
    uint64_t bytes() const;

    // Makes pages for `tokens` more tokens and copies shared ones that they will be written to.
    void prepare_append(int64_t tokens);
    void advance(int64_t tokens) { position_ += tokens; }

    // The same state, independent from now on.
    SequenceState fork() const;
    // Forgets everything from `position` on. Only for models without recurrent layers, or position 0.
    void truncate(int64_t position);

    KvPages pages(int layer) const;
    const LayerState& layer(int layer) const { return layers_[static_cast<size_t>(layer)]; }
    const std::vector<StateSpec>& specs() const { return *specs_; }

    // The state as named byte blocks, and back: for snapshots. The blocks hold exactly position() tokens.
    struct Block {
        std::string name;
        std::vector<std::byte> bytes;
    };
    std::vector<Block> save() const;
    // `blocks` in the order and sizes of save() at `position` tokens (see block_sizes).
    void load(int64_t position, const std::vector<Block>& blocks);
    // Names and sizes that save() gives at `position` tokens.
    std::vector<std::pair<std::string, uint64_t>> block_sizes(int64_t position) const;

  private:
    void clear();

    Backend* backend_;
    std::shared_ptr<const std::vector<StateSpec>> specs_;
    std::vector<LayerState> layers_;
    int64_t position_ = 0;
};

}  // namespace sluice
