// The norms inside latent attention have an epsilon of their own, which shows where what they norm is tiny.

#include <gtest/gtest.h>

#include <cmath>

#include "model/model.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice::testing {
namespace {

using Numbers = std::vector<double>;

constexpr size_t kHeads = 2, kRank = 32, kNope = 32, kRope = 8, kValue = 16, kHidden = 64;
constexpr double kOwnEpsilon = 1e-6, kEpsilonOfTheModel = 1e-5;
const std::string kAttention = "model.layers.0.self_attn.";

void scale_rows(TinyTensor& tensor, size_t first_row, size_t rows, float factor) {
    const auto columns = static_cast<size_t>(tensor.shape.back());
    for (size_t i = first_row * columns; i < (first_row + rows) * columns; ++i) {
        std::byte* const element = tensor.bytes.data() + 2 * i;
        store_unaligned(element, float_to_bf16(factor * bf16_to_float(load_unaligned<uint16_t>(element))));
    }
}

class LatentNorms : public ::testing::Test {
  protected:
    LatentNorms() {
        tiny_.config["rms_norm_eps"] = kEpsilonOfTheModel;
        tiny_.config.erase("rope_scaling");
        // Latents of about the root of the epsilon, scores of about 1, nothing of the rotated keys or the MLP.
        const float tiny = 0x1p-13f;
        scale_rows(tiny_.tensors.at(kAttention + "q_a_proj.weight"), 0, kRank, tiny);
        scale_rows(tiny_.tensors.at(kAttention + "kv_a_proj_with_mqa.weight"), 0, kRank, tiny);
        scale_rows(tiny_.tensors.at(kAttention + "kv_a_proj_with_mqa.weight"), kRank, kRope, 0);
        scale_rows(tiny_.tensors.at(kAttention + "q_b_proj.weight"), 0, kHeads * (kNope + kRope), 0x1p-5f);
        scale_rows(tiny_.tensors.at("model.layers.0.mlp.down_proj.weight"), 0, kHidden, 0);
        tiny_.write(folder_.path());
    }

    // weight . x, from a row on
    Numbers product(const std::string& name, const Numbers& x, size_t first_row, size_t rows) const {
        const std::vector<float> weight = tiny_.values(name);
        Numbers out(rows);
        for (size_t r = 0; r < rows; ++r) {
            for (size_t i = 0; i < x.size(); ++i) {
                out[r] += static_cast<double>(weight[(first_row + r) * x.size() + i]) * x[i];
            }
        }
        return out;
    }

    Numbers normed(Numbers x, const std::string& name, double epsilon) const {
        const std::vector<float> weight = tiny_.values(name);
        double squares = 0;
        for (const double value : x) squares += value * value;
        const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
        for (size_t i = 0; i < x.size(); ++i) x[i] *= factor * static_cast<double>(weight[i]);
        return x;
    }

    Numbers input(int32_t id) const {
        const std::vector<float> table = tiny_.values("model.embed_tokens.weight");
        const auto row = table.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(id) * kHidden);
        return normed(Numbers(row, row + kHidden), "model.layers.0.input_layernorm.weight", kEpsilonOfTheModel);
    }

    // What the attention of layer 0 adds to the last of these tokens.
    Numbers attention(const std::vector<int32_t>& ids, double query_epsilon, double latent_epsilon) const {
        std::vector<Numbers> latents;
        for (const int32_t id : ids) {
            latents.push_back(normed(product(kAttention + "kv_a_proj_with_mqa.weight", input(id), 0, kRank),
                                     kAttention + "kv_a_layernorm.weight", latent_epsilon));
        }
        const Numbers query = normed(product(kAttention + "q_a_proj.weight", input(ids.back()), 0, kRank),
                                     kAttention + "q_a_layernorm.weight", query_epsilon);
        Numbers mixed;
        for (size_t head = 0; head < kHeads; ++head) {
            const Numbers q = product(kAttention + "q_b_proj.weight", query, head * (kNope + kRope), kNope);
            Numbers sum(kValue);
            double weights = 0;
            for (const Numbers& latent : latents) {
                const size_t first = head * (kNope + kValue);
                const Numbers key = product(kAttention + "kv_b_proj.weight", latent, first, kNope);
                const Numbers value = product(kAttention + "kv_b_proj.weight", latent, first + kNope, kValue);
                double score = 0;
                for (size_t i = 0; i < kNope; ++i) score += q[i] * key[i];
                const double weight = std::exp(score / std::sqrt(static_cast<double>(kNope + kRope)));
                weights += weight;
                for (size_t i = 0; i < kValue; ++i) sum[i] += weight * value[i];
            }
            for (const double value : sum) mixed.push_back(value / weights);
        }
        return product(kAttention + "o_proj.weight", mixed, 0, kHidden);
    }

    Numbers of_the_model(const std::vector<int32_t>& ids, Backend& backend) const {
        const auto checkpoint = Checkpoint::open(folder_.path());
        Model model(checkpoint, backend, KvFormat::kF32);
        ExpertStore store(checkpoint, {.cache_bytes = ExpertStore::full_bytes(*checkpoint)},
                          [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
        model.use_experts(store, nullptr);
        const auto state = model.new_state();
        const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {}, .hidden = true};
        const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
        const auto& hidden = outputs.at(0).hidden;
        Numbers added;
        for (size_t i = (ids.size() - 1) * kHidden; i < ids.size() * kHidden; ++i) {
            added.push_back(static_cast<double>(hidden.at(1)[i]) - static_cast<double>(hidden.at(0)[i]));
        }
        return added;
    }

    TinyCheckpoint tiny_ = tiny_deepseek_v3();
    TemporaryFolder folder_;
};

// Relative to the largest value.
double distance(const Numbers& a, const Numbers& b) {
    double largest = 0, difference = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        largest = std::max(largest, std::abs(b[i]));
        difference = std::max(difference, std::abs(a[i] - b[i]));
    }
    return difference / largest;
}

TEST_F(LatentNorms, HaveAnEpsilonWhateverTheModelsIs) {
    const std::vector<int32_t> ids = {3, 17, 8};
    const Numbers wanted = attention(ids, kOwnEpsilon, kOwnEpsilon);
    ASSERT_GT(distance(attention(ids, kEpsilonOfTheModel, kOwnEpsilon), wanted), 1e-2);
    ASSERT_GT(distance(attention(ids, kOwnEpsilon, kEpsilonOfTheModel), wanted), 1e-2);
    for (const auto& backend : {make_reference_backend(), make_cpu_backend({.exact = true})}) {
        EXPECT_LT(distance(of_the_model(ids, *backend), wanted), 1e-4) << backend->name();
    }
}

}  // namespace
}  // namespace sluice::testing
