// GatedMlp over groups (an expert, the rows routed to it) in two parallel passes for the whole operation: gate, up and
// their product for all groups, then down for all groups.

#include <algorithm>
#include <optional>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_routes.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

// Inner columns per task of the first pass: whole groups of every affine format and units of BF16, so that a task can
// round its part of the inner activations itself.
constexpr int64_t kInnerColumns = 128;
static_assert(kInnerColumns % kBf16Unit == 0);
constexpr int64_t kOutColumns = 128;

// A weight, and the layout in which activations meet it.
struct Projection {
    WeightView weight;
    ActivationLayout layout;
};

struct Group {
    Projection gate, up, down;                     // gate is up where there is none
    const float *gate_bias, *up_bias, *down_bias;  // null: none
    MlpRows rows;
    size_t first_slot;  // place of its first row among the rows of all groups
    size_t count;
};

// Rows [token, token + tokens) of a group, columns [column, column + columns) of what the pass computes.
struct Task {
    const Group* group;
    size_t token, tokens;
    int64_t column, columns;

    WeightView rows(const Projection& projection) const { return projection.weight.rows_at(column, columns); }
};

// Rows of activations in each layout that some weight of the operation asks for.
class InputSet {
  public:
    // Layouts in floats share `x`, `stride` apart from row to row; without it the set has rows of its own.
    explicit InputSet(const float* x = nullptr, int64_t stride = 0) : floats_(x), stride_(stride) {}

    void require(ActivationLayout layout) {
        if (std::ranges::find(layouts_, layout) == layouts_.end()) layouts_.push_back(layout);
    }
    void allocate(const KernelTable& kernels, int64_t rows, int64_t columns, Scratch& scratch) {
        for (const ActivationLayout layout : layouts_) {
            if (given(layout)) {
                rows_.emplace_back(layout, floats_, stride_, columns);
            } else {
                rows_.emplace_back(kernels, layout, rows, columns, scratch);
            }
        }
    }
    // function(rows) for those that must be set.
    template <typename Function>
    void for_own(Function&& function) const {
        for (const ActivationRows& rows : rows_) {
            if (!given(rows.layout())) function(rows);
        }
    }
    const ActivationRows& find(ActivationLayout layout) const {
        return *std::ranges::find(rows_, layout, &ActivationRows::layout);
    }

  private:
    bool given(ActivationLayout layout) const { return floats_ != nullptr && layout.kernel->takes_floats(); }

    const float* floats_;
    int64_t stride_;
    std::vector<ActivationLayout> layouts_;
    std::vector<ActivationRows> rows_;
};

// Tasks of `usual` columns, or more where that suits the kernels.
std::vector<Task> cut(const KernelTable& kernels, const std::vector<Group>& groups, Projection Group::*projection,
                      int64_t usual) {
    std::vector<Task> tasks;
    for (const Group& group : groups) {
        const auto& [weight, layout] = group.*projection;
        const size_t together = std::min<size_t>(group.count, kTaskTokens);
        const int64_t columns = rows_per_task(kernels, layout, together, usual);
        for (size_t token = 0; token < group.count; token += kTaskTokens) {
            const size_t tokens = std::min<size_t>(kTaskTokens, group.count - token);
            for (int64_t column = 0; column < weight.rows; column += columns) {
                tasks.push_back({&group, token, tokens, column, std::min(columns, weight.rows - column)});
            }
        }
    }
    return tasks;
}

// What the thread of task `index` will probably read after it.
std::optional<WeightView> next_rows(const std::vector<Task>& tasks, size_t index, Projection Group::*projection) {
    if (index + 1 == tasks.size()) return std::nullopt;
    const Task& next = tasks[index + 1];
    return next.rows(next.group->*projection);
}

const float* floats_of(const Tensor& bias) {
    return bias.buffer == nullptr ? nullptr : floats(bias);
}

// Adds columns [first, first + count) of a bias, if there is one, to as many values.
void add_bias(const float* bias, int64_t first, int64_t count, float* values) {
    if (bias == nullptr) return;
    for (int64_t i = 0; i < count; ++i) values[i] += bias[first + i];
}

template <typename LayoutFor>
std::vector<Group> resolve(const GatedMlp& op, LayoutFor&& layout_for) {
    const auto projection = [&](const Weight& weight) {
        const WeightView seen = view(weight);
        return Projection{seen, layout_for(seen)};
    };
    const std::vector<MlpRows> rows = mlp_rows(op);
    std::vector<Group> groups;
    size_t slot = 0;
    for (size_t g = 0; g < rows.size(); ++g) {
        const MlpGroup& group = op.groups[g];
        const auto count = static_cast<size_t>(rows[g].rows.size());
        const Projection up = projection(group.up);
        groups.push_back({op.activation.gated() ? projection(group.gate) : up, up, projection(group.down),
                          floats_of(group.gate_bias), floats_of(group.up_bias), floats_of(group.down_bias), rows[g],
                          slot, count});
        slot += count;
    }
    return groups;
}

}  // namespace

void CpuBackend::compute(const GatedMlp& op) {
    const float* x = floats(op.x);
    float* out = writable_floats(op.out);
    const std::vector<Group> groups = resolve(op, [&](const WeightView& weight) { return layout_for(weight); });
    if (groups.empty()) return;

    size_t slots = 0;
    int64_t inner_width = 0;
    InputSet inputs(x, op.x.row_stride), inner;
    for (const Group& group : groups) {
        slots += group.count;
        inner_width = std::max(inner_width, group.gate.weight.rows);
        inputs.require(group.gate.layout);
        inputs.require(group.up.layout);
        inner.require(group.down.layout);
    }
    const auto slot_rows = static_cast<int64_t>(slots);
    scratch_.reset();
    inputs.allocate(kernels_, op.x.rows, op.x.columns, scratch_);
    inner.allocate(kernels_, slot_rows, inner_width, scratch_);
    inputs.for_own([&](const ActivationRows& rows) {
        for_rows(op.x.rows, op.x.columns,
                 [&](int64_t t) { rows.set(kernels_, t, 0, op.x.columns, x + t * op.x.row_stride); });
    });

    // part of gate . x or up . x for the tokens of a task, to `to` [tokens][columns].
    const auto project = [&](const Task& task, const Projection& projection, const WeightView* next, float* to,
                             Scratch& scratch) {
        const RowNumbers& rows = task.group->rows.rows;
        auto* targets = scratch.take<float*>(task.tokens);
        for (size_t t = 0; t < task.tokens; ++t) targets[t] = to + static_cast<int64_t>(t) * task.columns;
        const ActivationRows& source = inputs.find(projection.layout);
        const auto row_at = [&](size_t t) { return rows[static_cast<int64_t>(task.token + t)]; };
        multiply_rows(kernels_,
                      {.weight = task.rows(projection),
                       .layout = projection.layout,
                       .x = source.pick(task.tokens, row_at, scratch),
                       .columns = source.columns(),
                       .out = targets,
                       .next = next},
                      scratch);
    };

    const std::vector<Task> first_pass = cut(kernels_, groups, &Group::gate, kInnerColumns);
    for_tasks(first_pass.size(), [&](size_t index) {
        const Task& task = first_pass[index];
        const Group& group = *task.group;
        Scratch& scratch = thread_scratch();
        const size_t products = task.tokens * static_cast<size_t>(task.columns);
        scratch.reset();
        auto* gate = scratch.take<float>(products);
        auto* up = scratch.take<float>(products);
        const WeightView own_up = task.rows(group.up);
        const std::optional<WeightView> next_gate = next_rows(first_pass, index, &Group::gate);
        if (op.activation.gated()) project(task, group.gate, &own_up, gate, scratch);
        project(task, group.up, next_gate ? &*next_gate : nullptr, up, scratch);
        const ActivationRows& own_inner = inner.find(group.down.layout);
        for (size_t t = 0; t < task.tokens; ++t) {
            const int64_t at = static_cast<int64_t>(t) * task.columns;
            float* product = gate + at;
            if (op.activation.gated()) add_bias(group.gate_bias, task.column, task.columns, product);
            add_bias(group.up_bias, task.column, task.columns, up + at);
            activate(op.activation, up + at, task.columns, product);
            const auto slot = static_cast<int64_t>(group.first_slot + task.token + t);
            own_inner.set(kernels_, slot, task.column, task.columns, product);
        }
    });

    const std::vector<Task> second_pass = cut(kernels_, groups, &Group::down, kOutColumns);
    for_tasks(second_pass.size(), [&](size_t index) {
        const Task& task = second_pass[index];
        const Group& group = *task.group;
        const RowNumbers& out_rows = group.rows.out_rows;
        Scratch& scratch = thread_scratch();
        scratch.reset();
        auto* targets = scratch.take<float*>(task.tokens);
        for (size_t t = 0; t < task.tokens; ++t) {
            targets[t] = out + out_rows[static_cast<int64_t>(task.token + t)] * op.out.row_stride;
        }
        const size_t first_slot = group.first_slot + task.token;
        const ActivationRows& source = inner.find(group.down.layout);
        const auto slot_at = [&](size_t t) { return first_slot + t; };
        const std::optional<WeightView> next_down = next_rows(second_pass, index, &Group::down);
        multiply_rows(kernels_,
                      {.weight = task.rows(group.down),
                       .layout = group.down.layout,
                       .x = source.pick(task.tokens, slot_at, scratch),
                       .columns = source.columns(),
                       .out = targets,
                       .first = task.column,
                       .next = next_down ? &*next_down : nullptr},
                      scratch);
        for (size_t t = 0; t < task.tokens; ++t) {
            add_bias(group.down_bias, task.column, task.columns, targets[t] + task.column);
        }
    });
}

void CpuBackend::compute(const RoutedMlp& op) {
    compute(grouped(op));
}

void CpuBackend::compute(const FetchExperts& op) {
    fetch(op);
}

}  // namespace sluice
