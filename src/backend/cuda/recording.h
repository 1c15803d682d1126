#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/lanes.h"

namespace sluice::cuda {

// Operations as one graph of the device: what does not need each other runs side by side.
class GraphRecording final : public Recording {
  public:
    // Hands the operations over to the device's lanes once, without running them.
    GraphRecording(std::shared_ptr<Device> device, std::vector<Operation> operations);
    GraphRecording(const GraphRecording&) = delete;
    GraphRecording& operator=(const GraphRecording&) = delete;
    ~GraphRecording() override;

    // Queued. False: the scratch that its operations use has moved.
    bool launch() const;

  private:
    void capture();

    std::shared_ptr<Device> device_;
    std::vector<OperationGroup> operations_;  // keep their buffers alive
    uint64_t scratch_version_ = 0;
    cudaGraphExec_t graph_ = nullptr;
};

}  // namespace sluice::cuda
