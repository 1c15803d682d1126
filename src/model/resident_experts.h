#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "backend/backend.h"
#include "experts/expert_store.h"

namespace sluice {

// A layer's experts in the backend's memory: where RoutedMlp finds them.
struct ResidentLayer {
    BufferPtr memory;
    uint64_t slot_bytes = 0;
    Tensor slots;         // I32 [experts, 1]
    BufferPtr more = {};  // null, or the memory of slots from first_more on
    int64_t first_more = 0;
};

// The layers whose experts are all in the backend's memory for good, so that nobody on the host need know who chose
// which. One thread.
class ResidentExperts {
  public:
    ResidentExperts(Backend& backend, ExpertStore& store) : backend_(backend), store_(store) {}

    // Reads what is missing, the first time; `go_on` is called meanwhile and may throw. Null where the memory holds
    // fewer, or one could not be read.
    const ResidentLayer* layer(int layer, int experts, const std::function<void()>& go_on);
    bool has(int layer) const { return layers_.contains(layer); }

  private:
    Backend& backend_;
    ExpertStore& store_;
    std::map<int, ResidentLayer> layers_;
};

}  // namespace sluice
