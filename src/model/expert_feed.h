#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backend/operations.h"
#include "experts/expert_store.h"
#include "experts/experts_elsewhere.h"
#include "experts/routing_trace.h"
#include "experts/row_table.h"
#include "model/reached_experts.h"
#include "model/resident_experts.h"

namespace sluice {

class FeedForward;

// The next layer's feed-forward, whose needs the running layer may guess.
struct NextFeedForward {
    const FeedForward* block = nullptr;  // null: nobody should
    Tensor norm;                         // empty: there is none
    float norm_epsilon = 0;
};

// Where a forward pass gets its experts, and what it has told the store of those to come.
struct ExpertFeed {
    ExpertStore* store = nullptr;
    ExpertsElsewhere* elsewhere = nullptr;  // null: the store has all
    RoutingTrace* trace = nullptr;          // null: not recorded
    ResidentExperts* resident = nullptr;    // null: routing comes back to the host
    ReachedExperts* reached = nullptr;      // where operations find all experts in this pass; null: they do not
    NextFeedForward next;                   // seen from the layer that is running
    std::vector<RowFetch> rows = {};        // of n-gram tables, by layer
    std::optional<ExpertStream> hinted;  // of a prompt: reads of the next layer's experts that it has not asked for yet

    // Begins to read experts of one layer for a prompt.
    void hint_scan(std::span<const ExpertKey> experts) {
        std::vector<int> numbers;
        for (const ExpertKey& key : experts) numbers.push_back(key.expert);
        hinted.emplace(store->hint_scan(experts.front().layer, numbers));
    }
};

}  // namespace sluice
