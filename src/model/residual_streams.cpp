#include "model/residual_streams.h"

#include <algorithm>

namespace sluice {

namespace {

class PlainStream : public ResidualStreams {
  public:
    explicit PlainStream(const ModelConfig& config)
        : hidden_(config.hidden_size),
          apart_(std::ranges::any_of(config.layers, [](const LayerConfig& layer) { return layer.norms.after; })) {}

    int64_t count() const override { return 1; }
    bool plain() const override { return true; }

    ResidualRows take(int64_t rows, Workspace& workspace) const override {
        ResidualRows taken;
        taken.streams = taken.read = workspace.take(rows, hidden_);
        if (apart_) taken.added = workspace.take(rows, hidden_);
        return taken;
    }

    void read(Backend&, const BlockPlace&, const ResidualRows&) const override {}
    void add(Backend& backend, const BlockPlace&, const ResidualRows& rows) const override {
        backend.run(AddGated{.x = rows.added, .gate = {}, .out = rows.streams});
    }
    void end(Backend&, const ResidualRows&) const override {}

  private:
    int64_t hidden_;
    bool apart_;  // what some block computes is normed before it is added
};

}  // namespace

std::unique_ptr<ResidualStreams> make_residual(const PlainResidual&, const ModelConfig& config, Trunk&) {
    return std::make_unique<PlainStream>(config);
}

}  // namespace sluice
