#include "model/expert_layer.h"

#include <utility>

#include "model/shared_mlp.h"

namespace sluice {

namespace {

MlpGroup group(const ExpertLayout& layout, const BufferPtr& record, const Tensor& rows, const Tensor& out_rows) {
    const auto weight = [&](const ProjectionLayout& part) {
        return part.placed([&](uint64_t offset) { return WeightPart{record, offset}; });
    };
    return {.gate = weight(layout.gate),
            .up = weight(layout.up),
            .down = weight(layout.down),
            .rows = rows,
            .out_rows = out_rows};
}

}  // namespace

ExpertLayer::ExpertLayer(const MixtureConfig& config, int layer, Trunk& trunk)
    : layer_(layer), activation_(activation_of(config.activation)) {
    if (config.expert_bias) take_biases(config, trunk);
}

// What is stored of gate and up in one tensor is parted: they take turns.
void ExpertLayer::take_biases(const MixtureConfig& config, Trunk& trunk) {
    if (!config.fused_expert_bias) {
        gate_biases_ = trunk.table(layer_, Role::kExpertGateBias, config.experts);
        up_biases_ = trunk.table(layer_, Role::kExpertUpBias, config.experts);
    } else {
        const std::vector<float> both = trunk.values(layer_, Role::kExpertGateUpBias);
        std::vector<float> gate, up;
        for (size_t i = 0; i < both.size(); i += 2) {
            gate.push_back(both[i]);
            up.push_back(both[i + 1]);
        }
        gate_biases_ = trunk.upload(gate, config.intermediate);
        up_biases_ = trunk.upload(up, config.intermediate);
    }
    down_biases_ = trunk.table(layer_, Role::kExpertDownBias, config.experts);
}

void ExpertLayer::add_biases(int expert, MlpGroup& group) const {
    if (down_biases_.buffer == nullptr) return;
    group.gate_bias = gate_biases_.rows_at(expert, 1);
    group.up_bias = up_biases_.rows_at(expert, 1);
    group.down_bias = down_biases_.rows_at(expert, 1);
}

void ExpertLayer::run(Backend& backend, ExpertRun run) const {
    const ExpertLayout& layout = run.store.layout(layer_);
    for (std::vector<HeldExpert> held = run.stream.next(); !held.empty(); held = run.stream.next()) {
        if (run.drive_idle && !run.stream.reading()) std::exchange(run.drive_idle, {})();
        GatedMlp operation{.x = run.x, .groups = {}, .out = run.out, .activation = activation_};
        for (const HeldExpert& expert : held) {
            if (expert.error()) {
                run.failed(run.rows_of.of(expert.index()), expert.error());
                continue;
            }
            backend.after(expert.arrived());
            const auto first = static_cast<int64_t>(run.rows_of.first[expert.index()]);
            const auto count = static_cast<int64_t>(run.rows_of.count(expert.index()));
            operation.groups.push_back(one(layout, expert.record(), run.rows_of.experts[expert.index()],
                                           run.rows.rows_at(first, count), run.out_rows.rows_at(first, count)));
        }
        if (!operation.groups.empty()) backend.run(operation);
        const EventPtr use = backend.mark();
        for (HeldExpert& expert : held) expert.keep_until(use);
        if (!run.go_on()) return;
    }
}

MlpGroup ExpertLayer::one(const ExpertLayout& layout, const BufferPtr& record, int expert, const Tensor& rows,
                          const Tensor& out_rows) const {
    MlpGroup made = group(layout, record, rows, out_rows);
    add_biases(expert, made);
    return made;
}

MlpGroup ExpertLayer::all(const ExpertLayout& layout, const BufferPtr& memory) const {
    MlpGroup expert = group(layout, memory, {}, {});
    expert.gate_bias = gate_biases_;
    expert.up_bias = up_biases_;
    expert.down_bias = down_biases_;
    return expert;
}

}  // namespace sluice
