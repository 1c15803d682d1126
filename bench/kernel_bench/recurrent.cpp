// What a layer of gated DeltaNet has beside products: its convolution and the delta rule.

#include <fmt/core.h>

#include <vector>

#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr double kTurnBytes = 200e6;  // states that take turns: more than a card's second cache holds

struct RecurrentStep {
    int64_t sequences, rows;  // of each
};
constexpr RecurrentStep kRecurrentSteps[] = {{1, 1}, {16, 1}, {64, 1}, {1, 2048}, {1, 8192}};

std::vector<SequenceRows> rows_in_turn(const RecurrentStep& step) {
    std::vector<SequenceRows> sequences;
    for (int64_t s = 0; s < step.sequences; ++s) sequences.push_back({.first_row = s * step.rows, .count = step.rows});
    return sequences;
}

StateSlots random_slots(Backend& backend, const RecurrentStep& step, int64_t rows, int64_t columns) {
    std::vector<int32_t> slots;
    for (int64_t s = 0; s < step.sequences; ++s) slots.push_back(static_cast<int32_t>(step.sequences - 1 - s));
    return {.pool = random_tensor(backend, step.sequences * rows, columns).buffer,
            .slot_bytes = static_cast<uint64_t>(rows * columns) * sizeof(float),
            .slots = int_table(backend, slots, 1),
            .rows = rows,
            .columns = columns};
}

double bytes_of(int64_t numbers) {
    return static_cast<double>(numbers) * sizeof(float);
}

// The operation with states of its own for every turn.
template <typename Op>
void add_in_turn(Backend& backend, const RecurrentStep& step, Op op, KernelCase each, const AddCase& add) {
    const int64_t rows = op.states.rows, columns = op.states.columns;
    const double state_bytes = bytes_of(step.sequences * rows * columns);
    std::vector<Op> turns{op};
    while (static_cast<double>(turns.size()) * state_bytes < kTurnBytes && turns.size() < 64) {
        op.states = random_slots(backend, step, rows, columns);
        turns.push_back(op);
    }
    each.bytes += 2 * state_bytes;
    run_in_turn(backend, turns, step.rows * step.sequences, each);
    add(std::move(each));
}

std::string step_name(const char* kernel, const RecurrentStep& step) {
    if (step.sequences == 1) return fmt::format("{} at {}", kernel, step.rows);
    return fmt::format("{} at {}, {} sequences", kernel, step.rows, step.sequences);
}

void add_convolution(Backend& backend, const Shapes& shapes, const RecurrentStep& step, const AddCase& add) {
    constexpr int64_t kTaps = 4;
    const int64_t channels = (2 * shapes.key_heads + shapes.value_heads) * shapes.delta_dim;
    const int64_t rows = step.sequences * step.rows;
    const CausalConvolution op{.x = random_tensor(backend, rows, channels),
                               .weight = random_tensor(backend, channels, kTaps),
                               .sequences = sequences_of(backend, rows_in_turn(step)),
                               .states = random_slots(backend, step, kTaps - 1, channels),
                               .out = random_tensor(backend, rows, channels)};
    add_in_turn(backend, step, op,
                {.group = "recurrent",
                 .name = step_name("convolution", step),
                 .flops = 2.0 * static_cast<double>(rows * channels * kTaps),
                 .bytes = bytes_of(channels * (2 * rows + kTaps)),
                 .launch = {}},
                add);
}

void add_delta_rule(Backend& backend, const Shapes& shapes, const RecurrentStep& step, const AddCase& add) {
    const int64_t dim = shapes.delta_dim, values = shapes.value_heads * dim, rows = step.sequences * step.rows;
    const int64_t columns = 2 * shapes.key_heads * dim + values;
    const GatedDeltaRule op{.qkv = random_tensor(backend, rows, columns),
                            .b = random_tensor(backend, rows, shapes.value_heads),
                            .a = random_tensor(backend, rows, shapes.value_heads),
                            .a_log = random_tensor(backend, 1, shapes.value_heads),
                            .dt_bias = random_tensor(backend, 1, shapes.value_heads),
                            .key_heads = shapes.key_heads,
                            .value_heads = shapes.value_heads,
                            .key_dim = dim,
                            .value_dim = dim,
                            .sequences = sequences_of(backend, rows_in_turn(step)),
                            .states = random_slots(backend, step, values, dim),
                            .out = random_tensor(backend, rows, values)};
    // What the recurrence itself takes: the state decays, answers a key and a query, and is changed.
    add_in_turn(backend, step, op,
                {.group = "recurrent",
                 .name = step_name("delta rule", step),
                 .flops = 7.0 * static_cast<double>(rows * values * dim),
                 .bytes = bytes_of(rows * (columns + values + 2 * shapes.value_heads)),
                 .launch = {}},
                add);
}

}  // namespace

void recurrent_cases(Backend& backend, const Shapes& shapes, const AddCase& add) {
    for (const RecurrentStep& step : kRecurrentSteps) {
        add_convolution(backend, shapes, step, add);
        add_delta_rule(backend, shapes, step, add);
    }
}

}  // namespace sluice::bench
