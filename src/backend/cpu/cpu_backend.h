#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/scratch.h"
#include "backend/host_backend.h"
#include "backend/latent_forms.h"
#include "base/thread_pool.h"

namespace sluice {

// Cosines and sines of the positions of a batch: every layer of a forward pass asks for the same ones.
class RotationTable {
  public:
    // [positions, frequencies] each, times magnitude.
    void prepare(std::span<const int32_t> positions, std::span<const float> frequencies, float magnitude,
                 ThreadPool& pool);
    const float* cosines(int64_t row) const { return cosines_.data() + static_cast<size_t>(row) * frequencies_.size(); }
    const float* sines(int64_t row) const { return sines_.data() + static_cast<size_t>(row) * frequencies_.size(); }

  private:
    std::vector<int32_t> positions_;
    std::vector<float> frequencies_, cosines_, sines_;
    float magnitude_ = 0;
    bool complete_ = false;  // not where making it was stopped
};

// Runs every operation when it is handed over. What a task computes depends on its index alone, so neither the number
// of threads nor the rest of the batch changes a bit.
class CpuBackend final : public HostBackend<CpuBackend> {
  public:
    explicit CpuBackend(const CpuBackendOptions& options);
    std::string name() const override;
    size_t threads() const override { return pool_.threads(); }
    void spread(size_t count, const std::function<void(size_t)>& body) override {
        pool_.parallel_for(count, 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) body(i);
        });
    }
    bool reads_tiles(const WeightFormat& format) const override;
    void set_go_on(std::function<bool()> go_on) override { pool_.set_go_on(std::move(go_on)); }

#define SLUICE_COMPUTE(Op) void compute(const Op& op);
    SLUICE_OPERATIONS(SLUICE_COMPUTE)
    SLUICE_LATENT_FORMS(SLUICE_COMPUTE)
#undef SLUICE_COMPUTE

  private:
    // In which layout activations meet the weight.
    ActivationLayout layout_for(const WeightView& weight) const {
        return exact_ ? ActivationLayout{} : fastest_layout(kernels_, weight.format);
    }
    // body(row) for every row, on all threads where the work of `floats` per row is worth it.
    template <typename Body>
    void for_rows(int64_t rows, int64_t floats, Body&& body) {
        constexpr int64_t kWorthwhile = 32768;  // floats that take longer than a fork and join
        const size_t smallest = static_cast<size_t>(kWorthwhile / (floats < 1 ? 1 : floats) + 1);
        pool_.parallel_for(static_cast<size_t>(rows), piece_size(pool_, rows, static_cast<int64_t>(smallest)),
                           [&](size_t begin, size_t end) {
                               for (size_t row = begin; row < end; ++row) body(static_cast<int64_t>(row));
                           });
    }
    // body(task) for tasks that are each worth a thread.
    template <typename Body>
    void for_tasks(size_t tasks, Body&& body) {
        pool_.parallel_for(tasks, 1, [&](size_t begin, size_t end) {
            for (size_t task = begin; task < end; ++task) body(task);
        });
    }
    // out[t] = weight[rows of head h] . x[t] of head h, over all heads: per head `rows` rows from `first_row` on of
    // every `row_stride` rows of the weight, and columns x_stride * h on of x.
    struct HeadLinear;
    void run_heads(const HeadLinear& heads);
    // On the calling thread, with its scratch.
    void run_attention(AttentionRows rows) const;
    // Of the rows of a segment from `first` on, each over the tokens that are selected for it.
    void score_runs(const SelectTokens& op, const KvSegment& segment, int64_t first, int64_t count, float* scores);
    void attend_selected(const Attention& op, const KvSegment& segment, int64_t first);
    // Attention over a tile of the latent cache; all of it, divided by the totals, without one.
    void attend_latents(const AttendLatents& form, const AccumulateLatentTile* tile);
    // gate = activation(gate, up), elementwise.
    void activate(const Activation& activation, const float* up, int64_t count, float* gate) const;
    struct ExpandedHead;
    void run_expanded_head(const ExpandedHead& task, const float* query, float* out);

    const KernelTable& kernels_;
    bool exact_;
    ThreadPool pool_;
    Scratch scratch_;
    RotationTable rotation_;
};

}  // namespace sluice
