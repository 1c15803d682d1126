#include "backend/cuda/recording.h"

#include <array>
#include <utility>
#include <variant>

#include "backend/cuda/compute.h"
#include "backend/cuda/fusion.h"
#include "backend/cuda/joined.h"
#include "backend/cuda/products.h"
#include "base/error.h"

namespace sluice::cuda {

namespace {

// Events of a capture: they only say what follows what.
class CaptureEvent {
  public:
    CaptureEvent() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }
    CaptureEvent(const CaptureEvent&) = delete;
    CaptureEvent& operator=(const CaptureEvent&) = delete;
    ~CaptureEvent() { (void)cudaEventDestroy(event_); }

    void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "recording operations"); }
    void hold_up(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_), "recording operations"); }

  private:
    cudaEvent_t event_ = nullptr;
};

// The nth Op of a group; null: there is none.
template <typename Op>
const Op* find(const OperationGroup& group, size_t nth = 0) {
    for (const Operation& operation : group) {
        const auto* op = std::get_if<Op>(&operation);
        if (op != nullptr && nth-- == 0) return op;
    }
    return nullptr;
}

NormedProducts normed_products(const OperationGroup& group) {
    NormedProducts joined{.norm = find<RmsNorm>(group), .products = {}, .convolution = find<CausalConvolution>(group)};
    for (size_t i = 0; const auto* linear = find<Linear>(group, i); ++i) joined.products.push_back(linear);
    return joined;
}

// False, and nothing was handed over, where the group is none of joined.h or not as its kernels need it.
bool hand_over_joined(Device& device, const OperationGroup& group) {
    const auto* product = std::get_if<Linear>(&group.front());
    if (group.size() == 1 && product != nullptr) {
        return compute_joined(device, NormedProducts{.norm = nullptr, .products = {product}, .convolution = nullptr});
    }
    if (group.size() == 1 || product != nullptr) return false;
    if (const auto* append = find<AppendKeyValue>(group)) {
        return compute_joined(device, HeadsStep{.split = find<SplitQueryGate>(group),
                                                .query_norm = find<RmsNorm>(group),
                                                .key_norm = find<RmsNorm>(group, 1),
                                                .query_rotary = find<Rotary>(group),
                                                .key_rotary = find<Rotary>(group, 1),
                                                .append = append});
    }
    if (find<RmsNorm>(group) != nullptr) return compute_joined(device, normed_products(group));
    if (const auto* rule = find<GatedDeltaRule>(group)) {
        return compute_joined(device, NormedDelta{.rule = rule, .norm = find<GatedRmsNorm>(group)});
    }
    if (const auto* attention = find<Attention>(group)) {
        return compute_joined(device, GatedAttention{.attention = attention, .gate = find<SigmoidGate>(group)});
    }
    if (const auto* route = find<Route>(group)) {
        const ExpertsStep joined{.route = route,
                                 .shared = find<GatedMlp>(group),
                                 .experts = find<RoutedMlp>(group),
                                 .combine = find<CombineExperts>(group),
                                 .added = find<AddGated>(group)};
        return compute_joined(device, joined) || compute_joined_rows(device, joined);
    }
    return false;
}

// Operations as they are handed to the lanes of a device; the first lane begins and ends.
class LaneWriter {
  public:
    LaneWriter(Device& device, const std::vector<OperationGroup>& operations)
        : device_(device), operations_(operations), places_(divide_into_lanes(operations, Device::kLanes)) {
        std::vector<bool> awaited(operations.size(), false);
        for (const LanePlace& place : places_) {
            for (const size_t other : place.after) awaited[other] = true;
        }
        for (const bool each : awaited) events_.push_back(each ? std::make_unique<CaptureEvent>() : nullptr);
    }
    ~LaneWriter() { device_.use_lane(0); }
    LaneWriter(const LaneWriter&) = delete;
    LaneWriter& operator=(const LaneWriter&) = delete;

    void write() {
        CaptureEvent begun;
        begun.record(device_.stream());
        for (size_t lane = 1; lane < Device::kLanes; ++lane) begun.hold_up(device_.lane(lane));
        for (size_t i = 0; i < operations_.size(); ++i) {
            device_.use_lane(places_[i].lane);
            for (const size_t other : places_[i].after) events_[other]->hold_up(device_.stream());
            if (!places_[i].after.empty() || !std::exchange(begun_[places_[i].lane], true)) device_.begin_in_order();
            hand_over(operations_[i]);
            if (events_[i] != nullptr) events_[i]->record(device_.stream());
        }
        device_.use_lane(0);
        for (size_t lane = 1; lane < Device::kLanes; ++lane) {
            CaptureEvent ended;
            ended.record(device_.lane(lane));
            ended.hold_up(device_.stream());
        }
    }

  private:
    void hand_over(const OperationGroup& group) {
        if (hand_over_joined(device_, group)) return;
        for (const OperationGroup& part : group_operations(group, Joining::kProducts)) hand_over_part(part);
    }

    void hand_over_part(const OperationGroup& group) {
        if (group.size() == 1) {
            return std::visit([&](const auto& op) { compute(device_, op); }, group.front());
        }
        if (const auto* combined = std::get_if<CombineExperts>(&group.front())) {
            return compute_together(device_, *combined, std::get<AddGated>(group.back()));
        }
        std::vector<const Linear*> products;
        for (const Operation& operation : group) products.push_back(&std::get<Linear>(operation));
        compute_together(device_, products);
    }

    Device& device_;
    const std::vector<OperationGroup>& operations_;
    std::vector<LanePlace> places_;
    std::array<bool, Device::kLanes> begun_{};           // whether a lane has an operation
    std::vector<std::unique_ptr<CaptureEvent>> events_;  // null: nobody waits for the operation
};

}  // namespace

GraphRecording::GraphRecording(std::shared_ptr<Device> device, std::vector<Operation> operations)
    : device_(std::move(device)),
      operations_(group_operations(std::move(operations), device_->exact() ? Joining::kProducts : Joining::kSteps)) {
    // No memory can be taken during a capture: where a lane's scratch was too small it is made, and all begins anew.
    while (graph_ == nullptr) {
        capture();
        device_->grow_scratch();
    }
    scratch_version_ = device_->scratch_version();
}

GraphRecording::~GraphRecording() {
    if (graph_ != nullptr) (void)cudaGraphExecDestroy(graph_);
}

void GraphRecording::capture() {
    check(cudaStreamBeginCapture(device_->stream(), cudaStreamCaptureModeThreadLocal), "recording operations");
    std::exception_ptr failure;
    bool complete = false;
    try {
        LaneWriter(*device_, operations_).write();
        complete = true;
    } catch (const Device::ScratchIsShort&) {
    } catch (...) {
        failure = std::current_exception();
    }
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(device_->stream(), &graph);
    if (!complete) {
        (void)cudaGetLastError();
        if (graph != nullptr) (void)cudaGraphDestroy(graph);
        if (failure) std::rethrow_exception(failure);
        return;
    }
    check(ended, "recording operations");
    const cudaError_t made = cudaGraphInstantiate(&graph_, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(made, "making a graph of operations");
}

bool GraphRecording::launch() const {
    if (scratch_version_ != device_->scratch_version()) return false;
    check(cudaGraphLaunch(graph_, device_->stream()), "running recorded operations");
    return true;
}

}  // namespace sluice::cuda
