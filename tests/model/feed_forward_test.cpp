// Feed-forward blocks with every activation and every rule of routing, on the backends, against sums written out here.

#include "model/feed_forward.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice::testing {
namespace {

constexpr int64_t kRows = 5, kHidden = 64;
constexpr double kTolerance = 1e-4;  // relative to the largest value
constexpr int kDense = 0, kSparse = 1;

using Row = std::vector<double>;

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

double gelu_tanh(double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

// Joins gate and up.
using Join = std::function<double(double gate, double up)>;
double silu_join(double gate, double up) {
    return gate * sigmoid(gate) * up;
}
double gelu_join(double gate, double up) {
    return gelu_tanh(gate) * up;
}
double clamped_join(double gate, double up) {
    const double g = std::min(gate, 1.5);
    return g * sigmoid(1.702 * g) * (std::clamp(up, -1.5, 1.5) + 1);
}
double shifted_join(double gate, double up) {
    return gate * sigmoid(gate) * (up + 1);
}

constexpr ActivationConfig kGelu{.kind = ActivationConfig::Kind::kGeluTanh};
constexpr ActivationConfig kClamped{.limit = 1.5, .alpha = 1.702, .up_offset = 1};
constexpr ActivationConfig kShifted{.up_offset = 1};

class FeedForwardBlock : public ::testing::Test {
  protected:
    FeedForwardBlock() {
        tiny_.write(folder_.path());
        checkpoint_ = Checkpoint::open(folder_.path());
        for (int64_t i = 0; i < kRows * kHidden; ++i) {
            x_.push_back(static_cast<float>(std::sin(0.7 * static_cast<double>(i)) / 2));
        }
    }

    template <class Block>
    Block block(int layer) const {
        return std::get<Block>(checkpoint_->config().layers[static_cast<size_t>(layer)].feed_forward);
    }

    // What the block of a layer, made with this config, adds to zeros.
    template <class Block>
    std::vector<float> run(Backend& backend, int layer, const Block& config) const {
        ExpertStore store(checkpoint_, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)},
                          [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
        Trunk trunk(*checkpoint_, backend);
        const auto feed_forward = make_feed_forward(config, {.checkpoint = *checkpoint_, .layer = layer}, trunk);
        Batch batch;
        batch.rows = kRows;
        batch.sequences = {{.first_row = 0, .count = kRows}};
        batch.errors.resize(1);
        ExpertFeed feed{.store = &store, .trace = nullptr, .next = {}, .hinted = {}};
        Workspace workspace(backend);
        const Tensor out = trunk.upload(std::vector<float>(x_.size()), kHidden);
        const Tensor x = trunk.upload(x_, kHidden);
        feed_forward->run(backend, batch, feed, {.x = x, .residual = out}, {.rows = out}, workspace);
        std::vector<float> values(x_.size());
        backend.download(out.buffer, out.offset, std::as_writable_bytes(std::span(values)));
        backend.wait();
        EXPECT_EQ(batch.errors[0], nullptr);
        return values;
    }

    template <class Block>
    void expect(int layer, const Block& config, const std::function<Row(const float* x)>& wanted) const {
        const std::unique_ptr<Backend> backends[] = {make_reference_backend(), make_cpu_backend({.exact = true})};
        for (const auto& backend : backends) {
            SCOPED_TRACE(backend->name());
            const std::vector<float> values = run(*backend, layer, config);
            double largest = 0, difference = 0;
            for (int64_t t = 0; t < kRows; ++t) {
                const Row row = wanted(x_.data() + t * kHidden);
                for (int64_t i = 0; i < kHidden; ++i) {
                    const double value = row[static_cast<size_t>(i)];
                    largest = std::max(largest, std::abs(value));
                    difference = std::max(difference, std::abs(value - values[static_cast<size_t>(t * kHidden + i)]));
                }
            }
            EXPECT_LE(difference, kTolerance * largest);
        }
    }

    // weight . x
    Row product(const std::string& name, const Row& x) const {
        const std::vector<float> weight = tiny_.values(name);
        Row out(weight.size() / x.size());
        for (size_t r = 0; r < out.size(); ++r) {
            for (size_t i = 0; i < x.size(); ++i) out[r] += static_cast<double>(weight[r * x.size() + i]) * x[i];
        }
        return out;
    }

    Row mlp(const std::string& module, const Join& join, const float* x) const {
        const Row row(x, x + kHidden);
        Row gate = product(module + "gate_proj.weight", row);
        const Row up = product(module + "up_proj.weight", row);
        for (size_t i = 0; i < gate.size(); ++i) gate[i] = join(gate[i], up[i]);
        return product(module + "down_proj.weight", gate);
    }

    // The experts with the largest score plus correction, those of the shared expert added.
    Row mixture(const MixtureConfig& config, const std::function<Row(Row)>& score, const Join& join,
                const float* x) const {
        const Row scores = score(product("model.layers.1.mlp.gate.weight", Row(x, x + kHidden)));
        Row choice = scores;
        if (config.routing.corrected) {
            const std::vector<float> correction = checkpoint_->vector(kSparse, Role::kRouterCorrection);
            for (size_t e = 0; e < choice.size(); ++e) choice[e] += correction[e];
        }
        std::vector<size_t> order(scores.size());
        std::iota(order.begin(), order.end(), 0);
        std::ranges::sort(order, std::greater<>(), [&](size_t e) { return choice[e]; });
        order.resize(static_cast<size_t>(config.experts_per_token));
        double sum = 0;
        for (const size_t e : order) sum += scores[e];
        Row out = mlp("model.layers.1.mlp.shared_experts.", join, x);
        for (const size_t e : order) {
            const double weight = scores[e] / (config.routing.normalize ? sum : 1) * config.routing.scale;
            const Row part = mlp(fmt::format("model.layers.1.mlp.experts.{}.", e), join, x);
            for (size_t i = 0; i < out.size(); ++i) out[i] += weight * part[i];
        }
        return out;
    }

    TinyCheckpoint tiny_ = tiny_deepseek_v3();
    TemporaryFolder folder_;
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::vector<float> x_;
};

Row softmax(Row logits) {
    double sum = 0;
    for (double& value : logits) sum += value = std::exp(value);
    for (double& value : logits) value /= sum;
    return logits;
}

Row sigmoids(Row logits) {
    for (double& value : logits) value = sigmoid(value);
    return logits;
}

Row roots_of_softplus(Row logits) {
    for (double& value : logits) value = std::sqrt(std::log1p(std::exp(value)));
    return logits;
}

TEST_F(FeedForwardBlock, ADenseMlpJoinsGateAndUpByItsActivation) {
    const std::pair<ActivationConfig, Join> activations[] = {
        {{}, silu_join}, {kGelu, gelu_join}, {kClamped, clamped_join}, {kShifted, shifted_join}};
    for (const auto& [activation, join] : activations) {
        auto config = block<DenseMlpConfig>(kDense);
        config.activation = activation;
        expect(kDense, config, [&, &join = join](const float* x) { return mlp("model.layers.0.mlp.", join, x); });
    }
}

TEST_F(FeedForwardBlock, RoutedAndSharedExpertsJoinGateAndUpByTheirActivation) {
    const std::pair<ActivationConfig, Join> activations[] = {
        {{}, silu_join}, {kGelu, gelu_join}, {kClamped, clamped_join}, {kShifted, shifted_join}};
    for (const auto& [activation, join] : activations) {
        auto config = block<MixtureConfig>(kSparse);
        config.routing.groups = config.routing.groups_kept = 1;
        config.activation = activation;
        expect(kSparse, config, [&, &join = join](const float* x) { return mixture(config, sigmoids, join, x); });
    }
}

TEST_F(FeedForwardBlock, AMixtureRoutesByItsRule) {
    using Score = Routing::Score;
    const std::pair<Routing, Row (*)(Row)> rules[] = {
        {{.score = Score::kSoftmax, .normalize = false, .scale = 2.5}, softmax},
        {{.score = Score::kSoftmax, .corrected = true}, softmax},
        {{.score = Score::kSigmoid}, sigmoids},
        {{.score = Score::kSigmoid, .normalize = false}, sigmoids},
        {{.score = Score::kSqrtSoftplus, .scale = 1.5}, roots_of_softplus},
        {{.score = Score::kSqrtSoftplus, .corrected = true, .scale = 1.5}, roots_of_softplus},
    };
    for (const auto& [routing, score] : rules) {
        auto config = block<MixtureConfig>(kSparse);
        config.routing = routing;
        expect(kSparse, config, [&, score = score](const float* x) { return mixture(config, score, silu_join, x); });
    }
}

// What config.json says comes through to the whole model.
TEST_F(FeedForwardBlock, TheActivationOfConfigJson) {
    tiny_.config["hidden_act"] = "gelu_pytorch_tanh";
    tiny_.write(folder_.path());
    checkpoint_ = Checkpoint::open(folder_.path());
    expect(kDense, block<DenseMlpConfig>(kDense),
           [&](const float* x) { return mlp("model.layers.0.mlp.", gelu_join, x); });
    auto config = block<MixtureConfig>(kSparse);
    config.routing.groups = config.routing.groups_kept = 1;
    expect(kSparse, config, [&](const float* x) { return mixture(config, sigmoids, gelu_join, x); });
}

}  // namespace
}  // namespace sluice::testing
