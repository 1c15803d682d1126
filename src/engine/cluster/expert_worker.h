#pragma once

#include <map>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "checkpoint/checkpoint.h"
#include "engine/cluster/expert_messages.h"
#include "experts/expert_store.h"
#include "model/expert_layer.h"
#include "model/workspace.h"

namespace sluice {

// Computes experts that its store holds for whoever leads. Needs nothing of the trunk but the experts' biases.
class ExpertWorker {
  public:
    ExpertWorker(const Checkpoint& checkpoint, Backend& backend, ExpertStore& store);

    // Writes the reply to a request; what goes wrong is told in it.
    void answer(const ExpertRequest& request, std::vector<std::byte>& reply);
    // Nobody has asked for a while: what earlier runs used may be read.
    void rest() { store_.go_on_warming(); }

  private:
    struct Outcome {
        Tensor rows;  // [entries, columns]
        std::vector<int32_t> failed;
        std::string error;
    };
    Outcome compute(const ExpertRequest& request);
    void run(const ExpertRequest& request, ExpertRun run);
    void note_failure(const ExpertRequest& request, std::span<const int32_t> entries, const std::exception_ptr& error,
                      Outcome& outcome) const;
    std::vector<int32_t> choices(const ExpertRequest& request) const;
    WorkerCounters counters() const;

    Backend& backend_;
    ExpertStore& store_;
    int64_t experts_per_token_;
    std::map<int, ExpertLayer> layers_;
    Workspace workspace_;
    std::optional<ExpertStream> hinted_;  // of a prompt: see ExpertFeed::hinted
    double busy_seconds_ = 0;
};

}  // namespace sluice
