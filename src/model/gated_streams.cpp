// Residual streams that are read and written through gates.

#include <algorithm>
#include <optional>

#include "checkpoint/weights.h"
#include "model/residual_streams.h"

namespace sluice {

namespace {

// Rows whose normed streams and gates are in memory at once.
constexpr int64_t kGatedRows = 256;

class GatedStreams : public ResidualStreams {
  public:
    GatedStreams(const GatedStreamsConfig& residual, const ModelConfig& config, Trunk& trunk)
        : count_(residual.streams),
          hidden_(config.hidden_size),
          rank_(residual.rank),
          epsilon_(static_cast<float>(config.rms_norm_epsilon)),
          end_(connection(trunk, kNoLayer, kEndStreamsRoles)) {
        for (int l = 0; l < config.layer_count(); ++l) {
            const LayerConfig& layer = config.layers[static_cast<size_t>(l)];
            mixers_.push_back(layer.mixes() ? connection(trunk, l, kMixerStreamsRoles) : Connection{});
            feed_forwards_.push_back(layer.feeds_forward() ? connection(trunk, l, kFeedForwardStreamsRoles)
                                                           : Connection{});
        }
    }

    int64_t count() const override { return count_; }

    ResidualRows take(int64_t rows, Workspace& workspace) const override {
        return {.streams = workspace.take(rows, count_ * hidden_),
                .read = workspace.take(rows, hidden_),
                .added = workspace.take(rows, hidden_),
                .coefficients = workspace.take(rows, count_),
                .scratch = workspace.take(std::min(rows, kGatedRows), 2 * count_ * hidden_ + rank_)};
    }

    void read(Backend& backend, const BlockPlace& place, const ResidualRows& rows) const override {
        read(backend, (place.part == LayerPart::kMixer ? mixers_ : feed_forwards_)[place.layer], rows);
    }

    void add(Backend& backend, const BlockPlace&, const ResidualRows& rows) const override {
        backend.run(MixStreams{.x = rows.added, .weights = rows.coefficients, .streams = rows.streams});
    }

    void end(Backend& backend, const ResidualRows& rows) const override { read(backend, end_, rows); }

  private:
    struct Connection {
        Tensor norm;
        Weight down, up;
        std::optional<Weight> inject;  // none: nothing is added
    };

    static Connection connection(Trunk& trunk, int layer, const StreamsRoles& roles) {
        Connection made{.norm = trunk.vector(layer, roles.norm),
                        .down = trunk.projection(layer, roles.down),
                        .up = trunk.projection(layer, roles.up),
                        .inject = {}};
        if (layer != kNoLayer) made.inject = trunk.weight(layer, roles.inject);
        return made;
    }

    void read(Backend& backend, const Connection& connection, const ResidualRows& rows) const {
        const int64_t width = count_ * hidden_;
        const float share = 1.0f / static_cast<float>(count_);
        for (int64_t first = 0; first < rows.streams.rows; first += kGatedRows) {
            const int64_t count = std::min(kGatedRows, rows.streams.rows - first);
            const Tensor scratch = rows.scratch.rows_at(0, count);
            const Tensor normed = scratch.columns_at(0, width), gates = scratch.columns_at(width, width);
            const Tensor few = scratch.columns_at(2 * width, rank_);
            backend.run(RmsNorm{.x = rows.streams.rows_at(first, count),
                                .weight = connection.norm,
                                .width = hidden_,
                                .epsilon = epsilon_,
                                .out = normed});
            backend.run(Linear{.x = normed, .weight = connection.down, .out = few});
            backend.run(Gate{.x = few, .factor = share, .silu = true});
            backend.run(Linear{.x = few, .weight = connection.up, .out = gates});
            backend.run(AverageGatedStreams{.streams = normed, .gates = gates, .out = rows.read.rows_at(first, count)});
            if (!connection.inject) continue;
            const Tensor shares = rows.coefficients.rows_at(first, count);
            backend.run(Linear{.x = normed, .weight = *connection.inject, .out = shares, .full_precision = true});
            backend.run(Gate{.x = shares, .factor = share, .gain = 2});
        }
    }

    int64_t count_, hidden_, rank_;
    float epsilon_;
    Connection end_;
    std::vector<Connection> mixers_, feed_forwards_;  // of each layer
};

}  // namespace

std::unique_ptr<ResidualStreams> make_residual(const GatedStreamsConfig& residual, const ModelConfig& config,
                                               Trunk& trunk) {
    return std::make_unique<GatedStreams>(residual, config, trunk);
}

}  // namespace sluice
