#include <vector>

#include "checkpoint/weights.h"
#include "model/residual_streams.h"

namespace sluice {

namespace {

// What a connection learned: a projection of all streams, its offsets, and a factor for each kind of coefficient.
struct Connection {
    Weight function;
    Tensor base, scale;
};

class HyperConnections : public ResidualStreams {
  public:
    HyperConnections(const HyperConnectionConfig& residual, const ModelConfig& config, Trunk& trunk)
        : config_(residual), hidden_(config.hidden_size), epsilon_(static_cast<float>(config.rms_norm_epsilon)) {
        for (int layer = 0; layer < config.layer_count(); ++layer) {
            const LayerConfig& block = config.layers[static_cast<size_t>(layer)];
            mixers_.push_back(block.mixes() ? connection(trunk, layer, kMixerConnectionRoles) : Connection{});
            feed_forwards_.push_back(block.feeds_forward() ? connection(trunk, layer, kFeedForwardConnectionRoles)
                                                           : Connection{});
        }
        if (config_.learned_end) end_ = connection(trunk, kNoLayer, kEndConnectionRoles);
    }

    int64_t count() const override { return config_.streams; }

    ResidualRows take(int64_t rows, Workspace& workspace) const override {
        ResidualRows taken;
        taken.streams = workspace.take(rows, config_.streams * hidden_);
        taken.read = workspace.take(rows, hidden_);
        taken.added = workspace.take(rows, hidden_);
        taken.coefficients = workspace.take(rows, config_.coefficients());
        return taken;
    }

    void read(Backend& backend, const BlockPlace& place, const ResidualRows& rows) const override {
        weigh(backend, of(place), rows, rows.coefficients);
    }

    void add(Backend& backend, const BlockPlace&, const ResidualRows& rows) const override {
        const int64_t n = config_.streams;
        backend.run(MixStreams{.x = rows.added,
                               .weights = rows.coefficients.columns_at(n, n),
                               .mix = rows.coefficients.columns_at(2 * n, n * n),
                               .streams = rows.streams});
    }

    void end(Backend& backend, const ResidualRows& rows) const override {
        if (config_.learned_end) return weigh(backend, end_, rows, rows.coefficients.columns_at(0, config_.streams));
        backend.run(WeighStreams{.streams = rows.streams, .weights = {}, .out = rows.read});
    }

  private:
    static Connection connection(Trunk& trunk, int layer, const ConnectionRoles& roles) {
        return {.function = trunk.weight(layer, roles.function),
                .base = trunk.vector(layer, roles.base),
                .scale = trunk.vector(layer, roles.scale)};
    }

    const Connection& of(const BlockPlace& place) const {
        return (place.part == LayerPart::kMixer ? mixers_ : feed_forwards_)[place.layer];
    }

    // Coefficients decide over all that follows, so their projection is never rounded.
    void weigh(Backend& backend, const Connection& connection, const ResidualRows& rows,
               const Tensor& coefficients) const {
        backend.run(
            Linear{.x = rows.streams, .weight = connection.function, .out = coefficients, .full_precision = true});
        backend.run(ConnectStreams{.coefficients = coefficients,
                                   .streams = rows.streams,
                                   .base = connection.base,
                                   .scale = connection.scale,
                                   .count = config_.streams,
                                   .rounds = config_.rounds,
                                   .norm_epsilon = epsilon_,
                                   .epsilon = static_cast<float>(config_.epsilon)});
        backend.run(WeighStreams{
            .streams = rows.streams, .weights = coefficients.columns_at(0, config_.streams), .out = rows.read});
    }

    HyperConnectionConfig config_;
    int64_t hidden_;
    float epsilon_;
    std::vector<Connection> mixers_, feed_forwards_;  // of each layer
    Connection end_;
};

}  // namespace

std::unique_ptr<ResidualStreams> make_residual(const HyperConnectionConfig& residual, const ModelConfig& config,
                                               Trunk& trunk) {
    return std::make_unique<HyperConnections>(residual, config, trunk);
}

}  // namespace sluice
