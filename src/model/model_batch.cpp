// What a pass is told of its sequences.

#include <algorithm>
#include <bit>
#include <utility>

#include "model/model.h"

namespace sluice {

// Tables of a pass, which reach the backend in one transfer.
class Model::Numbers {
  public:
    explicit Numbers(Workspace& workspace) : workspace_(workspace) {}

    void add(Tensor& target, std::span<const int32_t> values, int64_t columns = 1) {
        target = workspace_.take(static_cast<int64_t>(values.size()) / columns, columns, DType::kI32);
        if (targets_.empty()) first_ = target.offset;
        targets_.push_back(&target);
        numbers_.resize((target.offset - first_) / sizeof(int32_t));
        numbers_.insert(numbers_.end(), values.begin(), values.end());
    }
    // Tensors that were taken before the workspace grew move to where it is now. What is `placed` there already stays.
    void upload(Backend& backend, Placed& placed) {
        for (Tensor* target : targets_) target->buffer = workspace_.buffer();
        if (placed.buffer != workspace_.buffer()) placed = {.buffer = workspace_.buffer(), .numbers = {}};
        placed.numbers.resize(std::min(placed.numbers.size(), numbers_.size()));
        const auto [known, differs] = std::ranges::mismatch(placed.numbers, numbers_);
        const std::span<const int32_t> rest(differs, numbers_.end());
        size_t count = rest.size();
        if (placed.numbers.size() == numbers_.size()) {
            const std::span<const int32_t> there(known, placed.numbers.end());
            while (count > 0 && rest[count - 1] == there[count - 1]) --count;
        }
        if (count > 0) {
            const auto before = static_cast<uint64_t>(differs - numbers_.begin()) * sizeof(int32_t);
            backend.upload(workspace_.buffer(), first_ + before, std::as_bytes(rest.first(count)));
        }
        placed.numbers = std::move(numbers_);
    }

  private:
    Workspace& workspace_;
    std::vector<Tensor*> targets_;
    std::vector<int32_t> numbers_;
    uint64_t first_ = 0;
};

void Model::make_tables(Batch& batch, std::span<const ForwardInput> inputs, const StepAhead* ahead, Numbers& numbers) {
    size_t most_pages = 1;
    std::vector<int32_t> rows, slots;
    for (size_t i = 0; i < inputs.size(); ++i) {
        const SequenceState& state = *inputs[i].state;
        const NewRows& mine = batch.sequences[i];
        const int64_t position = batch.host_positions[static_cast<size_t>(mine.first_row)];
        // A model whose layers have no caches has no pages, but counts its tokens by them, too.
        const auto tokens = static_cast<size_t>(position + mine.count);
        most_pages = std::max({most_pages, state.pages().size(), (tokens + kKvPageTokens - 1) / kKvPageTokens});
        for (const int64_t value : {mine.first_row, mine.count, position}) rows.push_back(static_cast<int32_t>(value));
        batch.host_slots.push_back(state.slot());
        slots.push_back(state.slot());
        if (goes_ahead_) slots.push_back(ahead != nullptr ? ahead->written.value_or(state.slot()) : state.slot());
        batch.table.most_rows = std::max(batch.table.most_rows, mine.count);
    }
    most_pages = std::bit_ceil(most_pages);
    table_pages_ = std::max(table_pages_, most_pages);
    std::vector<int32_t> pages(inputs.size() * table_pages_);
    for (size_t i = 0; i < inputs.size(); ++i) {
        std::ranges::copy(inputs[i].state->pages(), pages.begin() + static_cast<std::ptrdiff_t>(i * table_pages_));
    }
    // A power of two, so that steps of a growing sequence are seldom told apart.
    batch.table.most_tokens = static_cast<int64_t>(most_pages) * kKvPageTokens;
    numbers.add(batch.table.rows, rows, 3);
    numbers.add(batch.slots, slots, goes_ahead_ ? 2 : 1);
    numbers.add(batch.pages, pages, static_cast<int64_t>(table_pages_));
}

Batch Model::make_batch(std::span<const ForwardInput> inputs, const StepAhead* ahead) {
    Batch batch;
    std::vector<int32_t> ids;
    for (const ForwardInput& input : inputs) {
        const auto count = static_cast<int64_t>(input.ids.size());
        const int64_t position = input.state->position() + (ahead != nullptr ? 1 : 0);
        batch.sequences.push_back({.first_row = batch.rows, .count = count});
        if (ahead == nullptr) {
            input.state->prepare_append(count);
            ids.insert(ids.end(), input.ids.begin(), input.ids.end());
        } else {
            ids.push_back(kNoToken);  // the step before puts its token there
        }
        for (int64_t i = 0; i < count; ++i) batch.host_positions.push_back(static_cast<int32_t>(position + i));
        batch.rows += count;
    }
    batch.errors.resize(inputs.size());
    batch.pool = states_.get();
    Numbers numbers(inputs_workspace_);
    numbers.add(batch.ids, ids);
    batch.host_ids = std::move(ids);
    numbers.add(batch.positions, batch.host_positions);
    for (const int64_t tokens : run_tokens_) {
        std::vector<int32_t> starts = batch.host_positions;
        for (int32_t& position : starts) position -= position % static_cast<int32_t>(tokens);
        numbers.add(batch.run_starts[tokens], starts);
    }
    if (std::ranges::any_of(inputs, [](const ForwardInput& input) { return input.draw.has_value(); })) {
        std::vector<int32_t> draws;
        for (const ForwardInput& input : inputs) append_row(draws, input.draw.value_or(DrawSettings{}));
        numbers.add(batch.draws, draws, kDrawColumns);
    }
    make_tables(batch, inputs, ahead, numbers);
    numbers.upload(backend_, placed_);
    return batch;
}

}  // namespace sluice
