#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <vector>

#include "backend/backend.h"
#include "experts/look_ahead.h"
#include "model/sequence_state.h"

namespace sluice {

// Asked on the way through a pass, between layers, between experts and inside long operations; false ends it. Called by
// the thread that runs the pass, often: it takes no time.
using PassHook = std::function<bool(int64_t layer, int64_t layers)>;

// Where the new tokens of a sequence are in a batch: rows [first_row, first_row + count).
struct NewRows {
    int64_t first_row = 0;
    int64_t count = 0;
};

// One forward pass's rows: the new tokens of every sequence, one sequence after the other.
struct Batch {
    int64_t rows = 0;
    Tensor ids;                                     // I32 [rows, 1]
    Tensor positions;                               // I32 [rows, 1]
    std::vector<int32_t> host_ids, host_positions;  // [rows]
    // I32 [rows, 1] each, by how many tokens a run has: the position of the first token of a row's run.
    std::map<int64_t, Tensor> run_starts;
    std::vector<NewRows> sequences;
    const StatePool* pool = nullptr;
    Sequences table;                  // of the sequences, for operations
    Tensor pages;                     // I32 [sequences, *]: the pages of each
    Tensor slots;                     // I32 [sequences, 1]
    std::vector<int32_t> host_slots;  // [sequences]
    Tensor draws;     // I32 [sequences, kDrawColumns]: how their tokens are drawn; empty where all want the likeliest
    Tensor selected;  // I32 [rows, *]: the tokens that a layer's indexer chose last; empty where none has one
    std::vector<std::exception_ptr> errors;  // one per sequence; set when an expert it needed could not be read

    const PassHook* hook = nullptr;         // null: nobody asks
    int64_t running_layer = 0, layers = 0;  // of all

    void check_cancelled() const;  // throws kCancelled where the hook says so
    // Where there are prompts, it is theirs alone: who decodes beside them names few experts.
    BatchShape shape() const {
        BatchShape prompts{.rows = 0, .sequences = 0};
        for (const NewRows& each : sequences) {
            if (each.count == 1) continue;
            prompts.rows += each.count;
            ++prompts.sequences;
        }
        if (prompts.sequences > 0) return prompts;
        return {.rows = rows, .sequences = static_cast<int64_t>(sequences.size())};
    }
    // Nobody wants the rest of the pass.
    bool all_failed() const {
        return std::ranges::all_of(errors, [](const std::exception_ptr& error) { return error != nullptr; });
    }
    // A part of a layer's state.
    PagedCache cache(int layer, size_t part) const { return pool->cache(static_cast<size_t>(layer), part, pages); }
    StateSlots states(int layer, size_t part) const { return pool->states(static_cast<size_t>(layer), part, slots); }
};

}  // namespace sluice
