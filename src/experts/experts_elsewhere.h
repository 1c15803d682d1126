#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <span>

#include "experts/eviction.h"
#include "experts/rows_of_expert.h"

namespace sluice {

// What a batch wants of a layer's experts that are elsewhere.
struct WorkElsewhere {
    int layer = 0;
    const RowsOfExpert& rows_of;
    std::span<const int32_t> rows;  // of x, one for each entry
    std::span<const float> x;       // [*, columns]
    size_t columns = 0;
    bool prompt = false;                    // the batch is (a part of) a prompt
    std::span<const ExpertKey> hints = {};  // what the next layer will probably want
};

// What becomes of it.
struct ResultsElsewhere {
    std::function<void(int32_t entry, std::span<const float> row)> take;
    // An expert that could not be read; its entries mean nothing.
    std::function<void(std::span<const int32_t> entries, const std::exception_ptr& error)> fail;
    std::function<void()> meanwhile;  // called while it waits; may throw
};

// Experts that somebody else holds and computes: other machines, or another device of this one. One thread.
class ExpertsElsewhere {
  public:
    virtual ~ExpertsElsewhere() = default;
    // Whether the expert is there and not here.
    virtual bool holds(const ExpertKey& key) const = 0;
    // Of the experts that a batch wants of a layer, in their order, which are computed elsewhere this time; what is
    // handed over next is of these.
    virtual std::vector<bool> choose(int layer, const RowsOfExpert& wanted) = 0;
    // Hands over the work of a layer and returns. What was handed over before and not finished is given up.
    virtual void begin(const WorkElsewhere& work) = 0;
    // Waits for all of it.
    virtual void finish(const ResultsElsewhere& results) = 0;
};

}  // namespace sluice
