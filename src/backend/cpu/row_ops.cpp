// Operations that look at one row at a time.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_draws.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"
#include "base/error.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {}  // namespace

void CpuBackend::compute(const Embed& op) {
    const int32_t* ids = ints(op.ids);
    const WeightView table = view(op.table);
    float* out = writable_floats(op.out);
    for (int64_t t = 0; t < op.out.rows; ++t) {
        const int32_t id = ids[t * op.ids.row_stride];
        if (id >= 0 && id < table.rows) continue;
        fail(ErrorCode::kUsage, "Embed: ids holds {}, the table has {} rows", id, table.rows);
    }
    for_rows(op.out.rows, op.out.columns, [&](int64_t t) {
        const int32_t id = ids[t * op.ids.row_stride];
        float* row = out + t * op.out.row_stride;
        if (table.tiled) {
            kernels_.decode(RowOfTile(table, id).view(), 0, 0, table.columns, row);
        } else {
            kernels_.decode(table, id, 0, table.columns, row);
        }
    });
}

void CpuBackend::compute(const RmsNorm& op) {
    const float *x = floats(op.x), *weight = floats(op.weight);
    float* out = writable_floats(op.out);
    const int64_t width = op.run();
    for_rows(op.x.rows, op.x.columns, [&](int64_t t) {
        for (int64_t i = 0; i < op.x.columns; i += width) {
            kernels_.rms_norm(x + t * op.x.row_stride + i, weight + i % op.weight.columns, width, op.epsilon,
                              out + t * op.out.row_stride + i);
        }
    });
}

void CpuBackend::compute(const LayerNorm& op) {
    const float *x = floats(op.x), *weight = floats(op.weight), *bias = floats(op.bias);
    float* out = writable_floats(op.out);
    const int64_t width = op.weight.columns;
    for_rows(op.x.rows, 4 * op.x.columns, [&](int64_t t) {
        for (int64_t first = 0; first < op.x.columns; first += width) {
            const float* run = x + t * op.x.row_stride + first;
            float* target = out + t * op.out.row_stride + first;
            double mean = 0, variance = 0;
            for (int64_t i = 0; i < width; ++i) mean += run[i];
            mean /= static_cast<double>(width);
            for (int64_t i = 0; i < width; ++i) variance += (run[i] - mean) * (run[i] - mean);
            const double scale = 1.0 / std::sqrt(variance / static_cast<double>(width) + op.epsilon);
            for (int64_t i = 0; i < width; ++i) {
                target[i] = static_cast<float>((run[i] - mean) * scale) * weight[i] + bias[i];
            }
        }
    });
}

void CpuBackend::compute(const GatedRmsNorm& op) {
    const float *x = floats(op.x), *z = floats(op.z), *weight = floats(op.weight);
    float* out = writable_floats(op.out);
    const int64_t width = op.weight.columns;
    for_rows(op.x.rows, 4 * op.x.columns, [&](int64_t t) {
        for (int64_t i = 0; i < op.x.columns; i += width) {
            kernels_.gated_rms_norm[op.sigmoid](x + t * op.x.row_stride + i, z + t * op.z.row_stride + i, weight, width,
                                                op.epsilon, out + t * op.out.row_stride + i);
        }
    });
}

void RotationTable::prepare(std::span<const int32_t> positions, std::span<const float> frequencies, float magnitude,
                            ThreadPool& pool) {
    if (complete_ && std::ranges::equal(positions, positions_) && std::ranges::equal(frequencies, frequencies_) &&
        magnitude == magnitude_) {
        return;
    }
    complete_ = false;
    positions_.assign(positions.begin(), positions.end());
    frequencies_.assign(frequencies.begin(), frequencies.end());
    magnitude_ = magnitude;
    const size_t width = frequencies_.size();
    cosines_.resize(positions_.size() * width);
    sines_.resize(positions_.size() * width);
    pool.parallel_for(positions_.size(), piece_size(pool, static_cast<int64_t>(positions_.size()), 16),
                      [&](size_t begin, size_t end) {
                          for (size_t i = begin * width; i < end * width; ++i) {
                              // In double: positions are large, and a float angle would be off by half its last bit.
                              const double angle = static_cast<double>(positions_[i / width]) *
                                                   static_cast<double>(frequencies_[i % width]);
                              cosines_[i] = static_cast<float>(std::cos(angle)) * magnitude_;
                              sines_[i] = static_cast<float>(std::sin(angle)) * magnitude_;
                          }
                      });
    complete_ = true;
}

void CpuBackend::compute(const Rotary& op) {
    const int64_t half = op.frequencies.columns;
    const int32_t* given = ints(op.positions);
    std::vector<int32_t> positions(static_cast<size_t>(op.x.rows));
    for (size_t t = 0; t < positions.size(); ++t)
        positions[t] = given[static_cast<int64_t>(t) * op.positions.row_stride];
    rotation_.prepare(positions, {floats(op.frequencies), static_cast<size_t>(half)}, op.magnitude, pool_);
    float* x = writable_floats(op.x);
    for_rows(op.x.rows, op.x.columns, [&](int64_t t) {
        const float *cosines = rotation_.cosines(t), *sines = rotation_.sines(t);
        for (int64_t head = 0; head < op.x.columns; head += op.head_dim) {
            float* p = x + t * op.x.row_stride + head + op.first;
            if (!op.interleaved) {
                kernels_.rotate_halves(p, p + half, cosines, sines, half);
                continue;
            }
            for (int64_t i = 0; i < half; ++i) {
                const float a = p[2 * i], b = p[2 * i + 1];
                p[2 * i] = a * cosines[i] - b * sines[i];
                p[2 * i + 1] = b * cosines[i] + a * sines[i];
            }
        }
    });
}

void CpuBackend::compute(const SplitQueryGate& op) {
    const float* fused = floats(op.fused);
    float *query = writable_floats(op.query), *gate = writable_floats(op.gate);
    for_rows(op.fused.rows, op.fused.columns, [&](int64_t t) {
        const float* source = fused + t * op.fused.row_stride;
        for (int64_t i = 0; i < op.query.columns; i += op.head_dim) {
            copy_floats(query + t * op.query.row_stride + i, source + 2 * i, op.head_dim);
            copy_floats(gate + t * op.gate.row_stride + i, source + 2 * i + op.head_dim, op.head_dim);
        }
    });
}

void CpuBackend::compute(const SigmoidGate& op) {
    const float* gate = floats(op.gate);
    float* x = writable_floats(op.x);
    for_rows(op.x.rows, 4 * op.x.columns, [&](int64_t t) {
        const float* gates = gate + t * op.gate.row_stride;
        float* row = x + t * op.x.row_stride;
        if (op.run() > 1) {
            for (int64_t i = 0; i < op.gate.columns; ++i) {
                float factor = 1;
                kernels_.sigmoid(gates + i, 1, &factor);
                if (op.silu) factor *= gates[i];
                for (int64_t j = i * op.run(); j < (i + 1) * op.run(); ++j) row[j] *= factor;
            }
            return;
        }
        kernels_.sigmoid_multiply(gates, op.x.columns, row);
        if (!op.silu) return;
        for (int64_t i = 0; i < op.x.columns; ++i) row[i] *= gates[i];
    });
}

void CpuBackend::compute(const CombineExperts& op) {
    const float* parts = floats(op.parts);
    const float* weights = op.weights.buffer == nullptr ? nullptr : floats(op.weights);
    float* out = writable_floats(op.out);
    const int64_t count = op.parts.rows / op.out.rows;
    for_rows(op.out.rows, op.out.columns * count, [&](int64_t t) {
        float* const row = out + t * op.out.row_stride;
        if (!op.accumulate) std::fill_n(row, op.out.columns, 0.0f);
        for (int64_t j = 0; j < count; ++j) {
            const float weight = weights == nullptr ? 1 : weights[t * op.weights.row_stride + j];
            kernels_.add_scaled(parts + (t * count + j) * op.parts.row_stride, weight, op.out.columns, row);
        }
    });
}

void CpuBackend::compute(const WeighRows& op) {
    const float *x = floats(op.x), *weights = floats(op.weights);
    float* out = writable_floats(op.out);
    const int64_t count = op.weights.columns;
    for_rows(op.out.rows, op.out.columns, [&](int64_t row) {
        const int64_t t = row / count;
        const float weight = weights[t * op.weights.row_stride + row % count];
        const float* source = x + t * op.x.row_stride;
        float* target = out + row * op.out.row_stride;
        for (int64_t i = 0; i < op.out.columns; ++i) target[i] = weight * source[i];
    });
}

void CpuBackend::compute(const Scale& op) {
    // A row may be the logits of a whole vocabulary.
    constexpr int64_t kPiece = 4096;
    float* x = writable_floats(op.x);
    const int64_t pieces = (op.x.columns + kPiece - 1) / kPiece;
    for_rows(op.x.rows * pieces, (op.cap == 0 ? 1 : 8) * std::min(kPiece, op.x.columns), [&](int64_t index) {
        const int64_t first = index % pieces * kPiece, count = std::min(kPiece, op.x.columns - first);
        float* part = x + index / pieces * op.x.row_stride + first;
        for (int64_t i = 0; i < count; ++i) part[i] *= op.factor;
        for (int64_t i = 0; i < count && op.limit != 0; ++i) part[i] = std::clamp(part[i], -op.limit, op.limit);
        if (op.cap == 0) return;
        // tanh(z) = 2 sigmoid(2 z) - 1.
        for (int64_t i = 0; i < count; ++i) part[i] *= 2 / op.cap;
        kernels_.sigmoid(part, count, part);
        for (int64_t i = 0; i < count; ++i) part[i] = op.cap * (2 * part[i] - 1);
    });
}

void CpuBackend::compute(const ScaleByPosition& op) {
    float* x = writable_floats(op.x);
    const int32_t* positions = ints(op.positions);
    for_rows(op.x.rows, op.x.columns, [&](int64_t t) {
        const double turns = std::floor((positions[t * op.positions.row_stride] + 1.0) / op.interval);
        const auto factor = static_cast<float>(1 + op.factor * std::log1p(turns));
        float* row = x + t * op.x.row_stride;
        for (int64_t i = 0; i < op.x.columns; ++i) row[i] *= factor;
    });
}

void CpuBackend::compute(const AddGated& op) {
    const float* x = floats(op.x);
    const float* gate = op.gate.buffer ? floats(op.gate) : nullptr;
    float* out = writable_floats(op.out);
    for_rows(op.out.rows, op.out.columns, [&](int64_t t) {
        float factor = 1;
        if (gate != nullptr) kernels_.sigmoid(gate + t * op.gate.row_stride, 1, &factor);
        kernels_.add_scaled(x + t * op.x.row_stride, factor, op.out.columns, out + t * op.out.row_stride);
    });
}

void CpuBackend::compute(const GatherRows& op) {
    const float* x = floats(op.x);
    float* out = writable_floats(op.out);
    const RowNumbers rows(op.kName, "rows", op.rows, op.x.rows);
    for_rows(op.out.rows, op.out.columns, [&](int64_t i) {
        copy_floats(out + i * op.out.row_stride, x + rows[i] * op.x.row_stride, op.out.columns);
    });
}

void CpuBackend::compute(const ArgMax& op) {
    const float* x = floats(op.x);
    int32_t* out = writable_ints(op.out);
    for_rows(op.x.rows, op.x.columns, [&](int64_t i) {
        out[i * op.out.row_stride] = argmax(std::span(x + i * op.x.row_stride, static_cast<size_t>(op.x.columns)));
    });
}

void CpuBackend::compute(const DrawToken& op) {
    draw_tokens(op);
}

}  // namespace sluice
