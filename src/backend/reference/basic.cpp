#include <algorithm>

#include "backend/host_draws.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"
#include "backend/reference/math.h"
#include "backend/reference/operations.h"
#include "base/error.h"

namespace sluice::reference {

void compute(const Embed& op) {
    const int32_t* ids = ints(op.ids);
    const WeightView table = view(op.table);
    const auto out = writable_rows_of(op.out);
    for (int64_t t = 0; t < op.ids.rows; ++t) {
        const int32_t id = ids[t * op.ids.row_stride];
        if (id < 0 || id >= table.rows) {
            fail(ErrorCode::kUsage, "Embed: ids[{}] is {}: the table has {} rows", t, id, table.rows);
        }
        decode_row(table, id, out[t]);
    }
}

void compute(const RmsNorm& op) {
    const auto x = rows_of(op.x);
    const auto out = writable_rows_of(op.out);
    const float* weight = floats(op.weight);
    const int64_t width = op.run();
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t first = 0; first < op.x.columns; first += width) {
            const double scale = inverse_rms(x[t] + first, width, op.epsilon);
            for (int64_t i = first; i < first + width; ++i) {
                out[t][i] = static_cast<float>(x[t][i] * scale * weight[i % op.weight.columns]);
            }
        }
    }
}

void compute(const Rotary& op) {
    const auto x = writable_rows_of(op.x);
    const int32_t* positions = ints(op.positions);
    const float* frequencies = floats(op.frequencies);
    const int64_t half = op.frequencies.columns;
    for (int64_t t = 0; t < op.x.rows; ++t) {
        const double position = positions[t * op.positions.row_stride];
        for (int64_t head = 0; head < op.x.columns; head += op.head_dim) {
            float* rotated = x[t] + head + op.first;
            for (int64_t i = 0; i < half; ++i) {
                const double angle = position * frequencies[i];
                const double cosine = std::cos(angle) * op.magnitude;
                const double sine = std::sin(angle) * op.magnitude;
                float& first = rotated[op.interleaved ? 2 * i : i];
                float& second = rotated[op.interleaved ? 2 * i + 1 : i + half];
                const double a = first;
                const double b = second;
                first = static_cast<float>(a * cosine - b * sine);
                second = static_cast<float>(b * cosine + a * sine);
            }
        }
    }
}

void compute(const SplitQueryGate& op) {
    const auto fused = rows_of(op.fused);
    const auto query = writable_rows_of(op.query);
    const auto gate = writable_rows_of(op.gate);
    for (int64_t t = 0; t < op.fused.rows; ++t) {
        for (int64_t first = 0; first < op.query.columns; first += op.head_dim) {
            const float* head = fused[t] + 2 * first;
            std::copy_n(head, op.head_dim, query[t] + first);
            std::copy_n(head + op.head_dim, op.head_dim, gate[t] + first);
        }
    }
}

void compute(const SigmoidGate& op) {
    const auto x = writable_rows_of(op.x);
    const auto gate = rows_of(op.gate);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t i = 0; i < op.x.columns; ++i) {
            const float g = gate[t][i / op.run()];
            x[t][i] = static_cast<float>(x[t][i] * (op.silu ? silu(g) : sigmoid(g)));
        }
    }
}

void compute(const LayerNorm& op) {
    const auto x = rows_of(op.x);
    const auto out = writable_rows_of(op.out);
    const float *weight = floats(op.weight), *bias = floats(op.bias);
    const int64_t width = op.weight.columns;
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t first = 0; first < op.x.columns; first += width) {
            const float* run = x[t] + first;
            double mean = 0, variance = 0;
            for (int64_t i = 0; i < width; ++i) mean += run[i] / static_cast<double>(width);
            for (int64_t i = 0; i < width; ++i) variance += (run[i] - mean) * (run[i] - mean);
            const double scale = 1.0 / std::sqrt(variance / static_cast<double>(width) + op.epsilon);
            for (int64_t i = 0; i < width; ++i) {
                out[t][first + i] = static_cast<float>((run[i] - mean) * scale * weight[i] + bias[i]);
            }
        }
    }
}

void compute(const GatedRmsNorm& op) {
    const auto x = rows_of(op.x);
    const auto z = rows_of(op.z);
    const auto out = writable_rows_of(op.out);
    const float* weight = floats(op.weight);
    const int64_t width = op.weight.columns;
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t first = 0; first < op.x.columns; first += width) {
            const double scale = inverse_rms(x[t] + first, width, op.epsilon);
            for (int64_t i = 0; i < width; ++i) {
                const int64_t c = first + i;
                const double gate = op.sigmoid ? sigmoid(z[t][c]) : silu(z[t][c]);
                out[t][c] = static_cast<float>(x[t][c] * scale * weight[i] * gate);
            }
        }
    }
}

void compute(const CombineExperts& op) {
    const auto parts = rows_of(op.parts);
    const bool weighed = op.weights.buffer != nullptr;
    const auto out = writable_rows_of(op.out);
    const int64_t top_k = op.parts.rows / op.out.rows;
    for (int64_t t = 0; t < op.out.rows; ++t) {
        for (int64_t i = 0; i < op.out.columns; ++i) {
            double sum = op.accumulate ? out[t][i] : 0;
            for (int64_t j = 0; j < top_k; ++j) {
                const double weight = weighed ? rows_of(op.weights)[t][j] : 1;
                sum += weight * parts[t * top_k + j][i];
            }
            out[t][i] = static_cast<float>(sum);
        }
    }
}

void compute(const AddGated& op) {
    const auto x = rows_of(op.x);
    const auto out = writable_rows_of(op.out);
    const bool gated = op.gate.buffer != nullptr;
    for (int64_t t = 0; t < op.x.rows; ++t) {
        const double factor = gated ? sigmoid(*rows_of(op.gate)[t]) : 1.0;
        for (int64_t i = 0; i < op.x.columns; ++i) out[t][i] = static_cast<float>(out[t][i] + factor * x[t][i]);
    }
}

void compute(const Scale& op) {
    const auto x = writable_rows_of(op.x);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t i = 0; i < op.x.columns; ++i) {
            double scaled = static_cast<double>(x[t][i]) * op.factor;
            if (op.limit != 0) scaled = std::clamp<double>(scaled, -op.limit, op.limit);
            x[t][i] = static_cast<float>(op.cap == 0 ? scaled : op.cap * std::tanh(scaled / op.cap));
        }
    }
}

void compute(const ScaleByPosition& op) {
    const auto x = writable_rows_of(op.x);
    const int32_t* positions = ints(op.positions);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        const double turns = std::floor((positions[t * op.positions.row_stride] + 1.0) / op.interval);
        const double factor = 1 + op.factor * std::log1p(turns);
        for (int64_t i = 0; i < op.x.columns; ++i) x[t][i] = static_cast<float>(x[t][i] * factor);
    }
}

void compute(const WeighRows& op) {
    const auto x = rows_of(op.x);
    const auto weights = rows_of(op.weights);
    const auto out = writable_rows_of(op.out);
    const int64_t top_k = op.weights.columns;
    for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t j = 0; j < top_k; ++j) {
            for (int64_t i = 0; i < op.x.columns; ++i) out[t * top_k + j][i] = weights[t][j] * x[t][i];
        }
    }
}

void compute(const GatherRows& op) {
    const auto x = rows_of(op.x);
    const auto out = writable_rows_of(op.out);
    const RowNumbers rows(op.kName, "rows", op.rows, op.x.rows);
    for (int64_t t = 0; t < op.out.rows; ++t) std::copy_n(x[rows[t]], op.x.columns, out[t]);
}

void compute(const ArgMax& op) {
    const auto x = rows_of(op.x);
    int32_t* out = writable_ints(op.out);
    for (int64_t t = 0; t < op.x.rows; ++t) {
        out[t * op.out.row_stride] = argmax(std::span(x[t], static_cast<size_t>(op.x.columns)));
    }
}

void compute(const DrawToken& op) {
    draw_tokens(op);
}

}  // namespace sluice::reference
