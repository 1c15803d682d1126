#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <vector>

#include "experts/admission.h"
#include "experts/expert_cache.h"
#include "experts/expert_stream.h"

namespace sluice {

constexpr double kPollSeconds = 200e-6;  // short against a read

// The inside of a stream, under the store's mutex.
struct ExpertStream::Impl {
    // What next() will return.
    struct Ready {
        int expert;
        size_t slot;               // kNoSlot with an error
        std::exception_ptr error;  // its read failed
    };

    ExpertStore* store = nullptr;
    int layer = 0;
    size_t pool = 0;
    bool scan = false;
    bool hint = false;  // nobody has asked for its experts yet, and nobody calls next()
    bool open = false;  // among the pool's streams
    StreamShare share;
    std::vector<uint32_t> index_of;  // [experts]: 1 + place in the ids asked for, or 0
    std::vector<int32_t> choices;    // of each row, where there are several and it is no scan
    BatchPlan plan;
    size_t next_waiting = 0;        // into plan.waiting
    std::vector<size_t> in_flight;  // slots
    std::vector<Ready> ready;       // not returned yet
    std::condition_variable changed;

    bool waiting() const { return next_waiting < plan.waiting.size(); }
};

}  // namespace sluice
