#include "backend/reference/naive_mla.h"

#include <algorithm>

#include "backend/reference/math.h"

namespace sluice {

namespace {

// One head's rows [first, first + count) of kv_b applied to every latent: [tokens, count].
std::vector<float> decompress(const NaiveMla& inputs, int64_t first, int64_t count) {
    const int64_t kv_lora = inputs.kv_b.columns;
    std::vector<float> row(static_cast<size_t>(kv_lora));
    std::vector<float> result(static_cast<size_t>(inputs.tokens * count));
    for (int64_t r = 0; r < count; ++r) {
        decode_row(inputs.kv_b, first + r, row.data());
        for (int64_t p = 0; p < inputs.tokens; ++p) {
            const float* latent = inputs.latents.data() + p * kv_lora;
            result[static_cast<size_t>(p * count + r)] =
                static_cast<float>(reference::dot(row.data(), latent, kv_lora));
        }
    }
    return result;
}

}  // namespace

std::vector<float> naive_mla(const NaiveMla& inputs) {
    const int64_t query_dim = inputs.nope + inputs.rope;
    std::vector<float> out(static_cast<size_t>(inputs.rows * inputs.heads * inputs.value));
    for (int64_t h = 0; h < inputs.heads; ++h) {
        const int64_t first = h * (inputs.nope + inputs.value);
        const std::vector<float> keys = decompress(inputs, first, inputs.nope);
        const std::vector<float> values = decompress(inputs, first + inputs.nope, inputs.value);
        for (int64_t t = 0; t < inputs.rows; ++t) {
            const float* query = inputs.query.data() + (t * inputs.heads + h) * query_dim;
            const int64_t visible = inputs.tokens - inputs.rows + t + 1;
            std::vector<double> scores(static_cast<size_t>(visible));
            for (int64_t p = 0; p < visible; ++p) {
                scores[static_cast<size_t>(p)] =
                    inputs.scale *
                    (reference::dot(query, keys.data() + p * inputs.nope, inputs.nope) +
                     reference::dot(query + inputs.nope, inputs.rotary_keys.data() + p * inputs.rope, inputs.rope));
            }
            const double largest = *std::max_element(scores.begin(), scores.end());
            double total = 0;
            for (double& score : scores) total += score = std::exp(score - largest);
            for (int64_t i = 0; i < inputs.value; ++i) {
                double sum = 0;
                for (int64_t p = 0; p < visible; ++p) {
                    sum += scores[static_cast<size_t>(p)] * values[static_cast<size_t>(p * inputs.value + i)];
                }
                out[static_cast<size_t>((t * inputs.heads + h) * inputs.value + i)] = static_cast<float>(sum / total);
            }
        }
    }
    return out;
}

}  // namespace sluice
