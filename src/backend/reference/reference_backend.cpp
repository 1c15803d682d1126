#include "backend/host_backend.h"
#include "backend/reference/operations.h"

namespace sluice {

namespace {

class ReferenceBackend final : public HostBackend {
  public:
    std::string name() const override { return "reference"; }

  protected:
    void execute(const Embed& op) override { compute(op); }
    void execute(const RmsNorm& op) override { compute(op); }
    void execute(const Linear& op) override { compute(op); }
    void execute(const Rotary& op) override { compute(op); }
    void execute(const SplitQueryGate& op) override { compute(op); }
    void execute(const AppendKeyValue& op) override { compute(op); }
    void execute(const Attention& op) override { compute(op); }
    void execute(const SigmoidGate& op) override { compute(op); }
    void execute(const SplitLinearProjections& op) override { compute(op); }
    void execute(const CausalConvolution& op) override { compute(op); }
    void execute(const GatedDeltaRule& op) override { compute(op); }
    void execute(const GatedRmsNorm& op) override { compute(op); }
    void execute(const RouteSoftmax& op) override { compute(op); }
    void execute(const RouteGrouped& op) override { compute(op); }
    void execute(const GatedMlp& op) override { compute(op); }
    void execute(const CombineExperts& op) override { compute(op); }
    void execute(const AddGated& op) override { compute(op); }
    void execute(const GatherRows& op) override { compute(op); }
    void execute(const AppendLatent& op) override { compute(op); }
    void execute(const FoldQuery& op) override { compute(op); }
    void execute(const LatentAttention& op) override { compute(op); }
    void execute(const AccumulateLatentTile& op) override { compute(op); }
    void execute(const FinalizeLatentTiles& op) override { compute(op); }
    void execute(const ProjectValue& op) override { compute(op); }
    void execute(const ExpandedLatentAttention& op) override { compute(op); }

  private:
    template <typename Op>
    void compute(const Op& op) {
        attempt([&op] { reference::compute(op); });
    }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() {
    return std::make_unique<ReferenceBackend>();
}

}  // namespace sluice
