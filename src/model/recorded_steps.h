#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace sluice {

// A pass over one new token of each sequence, which is the same operations over the same places whoever they are.
struct RecordedStep {
    bool ran = false;  // by itself, so that all memory that it takes is there
    std::shared_ptr<Recording> recording;
    Tensor logits;     // [rows, vocabulary], or empty: tokens are chosen
    Tensor likeliest;  // I32 [rows, 1], or drawn; empty: logits are wanted
};

// Steps by what tells them apart.
class RecordedSteps {
  public:
    struct Key {
        int64_t rows = 0, most_tokens = 0, table_pages = 0, likeliest_of = 0;
        bool drawn = false, reached = false;
        auto operator<=>(const Key&) const = default;
    };

    // `inputs` and `scratch` are the memory that steps work in: none is kept that worked in another.
    RecordedStep& find(const Key& key, const BufferPtr& inputs, const BufferPtr& scratch) {
        if (inputs != inputs_ || scratch != scratch_) steps_.clear();
        inputs_ = inputs;
        scratch_ = scratch;
        return steps_[key];
    }

  private:
    BufferPtr inputs_, scratch_;
    std::map<Key, RecordedStep> steps_;
};

}  // namespace sluice
