#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "experts/expert_store.h"
#include "experts/experts_elsewhere.h"
#include "model/expert_layer.h"
#include "model/workspace.h"

namespace sluice {

// What an expert of one row costs, seconds: its copy to the device, its sums on the host, and what a layer takes beside
// these for what it computes on the host.
struct ExpertCosts {
    double copy = 0, compute = 0, begin = 0;
};

// How many of so many experts that the host's memory holds are computed there: until the host would be done later than
// the copies of the others.
size_t computed_on_host(const ExpertCosts& costs, size_t experts);

// Experts that the host's memory holds and a device does not, computed by the host's processor, while the device
// computes others: rows go there and back in place of records. Of steps of few rows.
class HostExperts final : public ExpertsElsewhere {
  public:
    // `host` computes on memory of the host. Without costs: all of them.
    HostExperts(const Checkpoint& checkpoint, Backend& host, ExpertStore& store, std::optional<ExpertCosts> costs);
    ~HostExperts() override;

    // What is guessed comes to the device.
    bool holds(const ExpertKey&) const override { return false; }
    std::vector<bool> choose(int layer, const RowsOfExpert& wanted) override;
    void begin(const WorkElsewhere& work) override;
    void finish(const ResultsElsewhere& results) override;

  private:
    void work();
    void compute();
    void let_go();

    Backend& backend_;
    ExpertStore& store_;
    const std::optional<ExpertCosts> costs_;
    std::map<int, ExpertLayer> layers_;
    std::vector<BelowLease> leases_;  // of what was chosen, in its order

    // Of what was begun.
    int layer_ = 0;
    RowsOfExpert rows_of_;
    std::vector<int32_t> rows_;
    std::vector<float> x_, out_;
    int64_t columns_ = 0;
    Workspace workspace_;
    std::exception_ptr failure_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool waiting_ = false, stopping_ = false;  // for the thread; of it
    std::thread thread_;
};

}  // namespace sluice
