// RoutedMlp: experts of one memory, chosen by ids that lie in the backend's memory.

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "base/memory.h"
#include "tensor/codecs.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

constexpr uint64_t kPartAlignment = 64;

struct RoutedShape {
    WeightFormat format;
    int64_t hidden, inner, experts, top_k;
    Activation activation = {};
    std::optional<WeightFormat> gate = {};  // where it has one of its own
};

// A record: where its parts lie, and how long it is.
class RecordLayout {
  public:
    explicit RecordLayout(const RoutedShape& shape) {
        gate_ = place(shape.gate.value_or(shape.format), shape.inner, shape.hidden);
        up_ = place(shape.format, shape.inner, shape.hidden);
        down_ = place(shape.format, shape.hidden, shape.inner);
    }

    uint64_t bytes() const { return bytes_; }
    MlpGroup in(const BufferPtr& memory) const {
        const auto at = [&](const Weight& weight) {
            return weight.placed([&](const WeightPart& part) { return WeightPart{memory, part.offset}; });
        };
        return {.gate = at(gate_), .up = at(up_), .down = at(down_)};
    }
    // Random matrices into the record that begins at `first`.
    void fill(CaseContext& context, const BufferPtr& memory, uint64_t first) const {
        for (const Weight* each : {&gate_, &up_, &down_}) {
            const WeightFormat& format = each->format;
            const Weight random = context.weight(format, each->rows, each->columns);
            const auto copy = [&](const WeightPart& from, const WeightPart& to, uint64_t bytes) {
                if (bytes > 0) context.backend().copy(from.buffer, from.offset, memory, first + to.offset, bytes);
            };
            copy(random.data, each->data, format.data_bytes(each->rows, each->columns));
            copy(random.scales, each->scales, format.scale_bytes(each->rows, each->columns));
            copy(random.zero_points, each->zero_points, format.zero_point_bytes(each->rows, each->columns));
        }
    }

  private:
    Weight place(const WeightFormat& format, int64_t rows, int64_t columns) {
        const auto next = [&](uint64_t bytes) {
            return WeightPart{nullptr, std::exchange(bytes_, bytes_ + round_up(bytes, kPartAlignment))};
        };
        Weight weight;
        weight.format = format;
        weight.rows = rows;
        weight.columns = columns;
        weight.data = next(format.data_bytes(rows, columns));
        weight.scales = next(format.scale_bytes(rows, columns));
        weight.zero_points = next(format.zero_point_bytes(rows, columns));
        return weight;
    }

    uint64_t bytes_ = 0;
    Weight gate_, up_, down_;
};

// So many slots in one memory, or in two; then the first has some that nobody uses, and the numbers of the second's
// follow those.
ExpertRecords filled_records(CaseContext& context, const RecordLayout& layout, int64_t slots, int64_t unused = 0) {
    const int64_t first = context.flip() ? slots : context.pick(1, slots);
    const auto allocate = [&](int64_t count, int64_t empty = 0) {
        const BufferPtr memory = context.backend().allocate(layout.bytes() * static_cast<uint64_t>(count + empty));
        for (int64_t slot = 0; slot < count; ++slot) {
            layout.fill(context, memory, static_cast<uint64_t>(slot) * layout.bytes());
        }
        return memory;
    };
    ExpertRecords records{.expert = layout.in(allocate(first, unused)), .slot_bytes = layout.bytes(), .slots = {}};
    if (first < slots) {
        records.more.buffer = allocate(slots - first);
        records.first_more = first + unused;
    }
    return records;
}

// Expert e in filled slot (7 e + 3) % `filled`, as filled_records() has them.
std::vector<int32_t> spread_slots(const ExpertRecords& records, int64_t experts, int64_t filled, int64_t unused) {
    const int64_t first = records.more.buffer == nullptr ? filled : records.first_more - unused;
    std::vector<int32_t> slots;
    for (int64_t e = 0; e < experts; ++e) {
        const int64_t slot = (e * 7 + 3) % filled;
        slots.push_back(static_cast<int32_t>(slot < first ? slot : slot + unused));
    }
    return slots;
}

// The slots that nobody uses take what comes.
ExpertArrivals arrivals_into(CaseContext& context, const ExpertRecords& records, int64_t experts, int64_t unused) {
    std::vector<int32_t> entries = {0, static_cast<int32_t>(unused), 0, 0};
    for (int64_t slot = records.first_more - unused; slot < records.first_more; ++slot) {
        entries.insert(entries.end(), {static_cast<int32_t>(slot), 0, 0, 0});
    }
    const std::vector<int32_t> claims(static_cast<size_t>(experts + 1));
    return {.claims = int_table(context.backend(), claims, 1),
            .entries = int_table(context.backend(), entries, 4),
            .number = 1};
}

std::vector<int32_t> shuffled(CaseContext& context, int64_t count) {
    std::vector<int32_t> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    for (size_t i = numbers.size(); i > 1; --i) {
        std::swap(numbers[i - 1], numbers[static_cast<size_t>(context.pick(0, static_cast<int64_t>(i) - 1))]);
    }
    return numbers;
}

// Slots are not in the order of the experts, and one holds nothing.
RoutedMlp routed_operation(CaseContext& context, const RoutedShape& shape, int64_t rows, bool row_per_choice) {
    const RecordLayout layout(shape);
    std::vector<int32_t> slots = shuffled(context, shape.experts + 1);
    slots.pop_back();
    RoutedMlp op{.x = context.random(row_per_choice ? rows * shape.top_k : rows, shape.hidden),
                 .ids = {},
                 .records = filled_records(context, layout, shape.experts + 1),
                 .out = context.output(rows * shape.top_k, shape.hidden),
                 .activation = shape.activation};
    op.records.slots = context.integers(slots);
    std::vector<int32_t> ids;
    for (int64_t row = 0; row < rows; ++row) {
        std::vector<int32_t> chosen = shuffled(context, shape.experts);
        chosen.resize(static_cast<size_t>(shape.top_k));
        std::ranges::sort(chosen);
        ids.insert(ids.end(), chosen.begin(), chosen.end());
    }
    op.ids = int_table(context.backend(), ids, shape.top_k);
    return op;
}

void routed_mlp(CaseContext& context, const RoutedShape& shape) {
    const int64_t rows = context.pick_of({1, 1, 2, 5, 17, 33, 90});
    RoutedMlp op = routed_operation(context, shape, rows, context.pick(0, 3) == 0);
    if (context.flip()) {
        op.records.expert.gate_bias = context.random(shape.experts, shape.inner, 0.5f);
        op.records.expert.up_bias = context.random(shape.experts, shape.inner, 0.5f);
        op.records.expert.down_bias = context.random(shape.experts, shape.hidden, 0.5f);
    }
    context.backend().run(op);
    context.result(op.out);
}

// A router's choice, a shared expert now and then, experts and their sum, of some rows.
void step_of_experts(CaseContext& context, bool recorded) {
    const int64_t rows = context.pick_of({1, 1, 2, 13, 64});
    const std::vector<int64_t> widths = {128, 256, rows > 2 ? 384 : 2048};
    const RoutedShape shape{WeightFormat::affine(4, 64, DType::kBF16), context.pick_of(widths),
                            context.pick_of({128, 256, rows > 2 ? 128 : 512}), context.pick_of({8, 40, 300}),
                            context.pick_of({1, 2, 8})};
    Backend& backend = context.backend();
    const RecordLayout layout(shape);
    const int64_t filled = std::min<int64_t>(shape.experts, 9), unused = context.pick(0, 6);
    ExpertRecords records = filled_records(context, layout, filled, unused);
    records.slots = context.integers(spread_slots(records, shape.experts, filled, unused));
    if (records.more.buffer != nullptr && unused > 0) {
        records.arrivals = arrivals_into(context, records, shape.experts, unused);
    }
    const BufferPtr shared_memory = backend.allocate(layout.bytes());
    layout.fill(context, shared_memory, 0);
    const Tensor x = context.random(rows, shape.hidden), sum = context.random(rows, shape.hidden);
    const Tensor ids = context.output(rows, shape.top_k, DType::kI32), weights = context.output(rows, shape.top_k);
    const Tensor parts = context.output(rows * shape.top_k, shape.hidden), shared = context.output(rows, shape.hidden);
    const bool has_shared = context.flip();
    std::vector<Operation> operations = {
        Route{.logits = context.random(rows, shape.experts), .ids = ids, .weights = weights}};
    if (has_shared) operations.push_back(GatedMlp{.x = x, .groups = {layout.in(shared_memory)}, .out = shared});
    operations.push_back(RoutedMlp{.x = x, .ids = ids, .records = records, .out = parts});
    operations.push_back(CombineExperts{.parts = parts, .weights = weights, .out = sum, .accumulate = context.flip()});
    if (has_shared) operations.push_back(AddGated{.x = shared, .gate = context.random(rows, 1), .out = sum});
    run_step(backend, operations, recorded);
    for (const Tensor& each : {ids, weights, parts, sum}) context.result(each);
    if (has_shared) context.result(shared);
}

// What has come, and what those experts make of a row.
void fetch_experts(CaseContext& context) {
    const RoutedShape shape{WeightFormat::affine(4, 64, DType::kBF16), 128, 256, context.pick_of({8, 40, 300}), 3};
    const RecordLayout layout(shape);
    const int64_t filled = 7, unused = context.pick(1, 6);
    ExpertRecords records = filled_records(context, layout, filled, unused);
    std::vector<int32_t> slots = spread_slots(records, shape.experts, filled, unused);
    records.slots = context.integers(slots);
    records.arrivals = arrivals_into(context, records, shape.experts, unused);
    const std::vector<int32_t> logits = shuffled(context, shape.experts);
    Backend& backend = context.backend();
    backend.run(FetchExperts{.logits = context.filled({logits.begin(), logits.end()}, 1, shape.experts),
                             .top_k = context.pick(1, 5),
                             .records = records});
    std::vector<int32_t> entries(static_cast<size_t>(4 * (unused + 1)));
    backend.download(records.arrivals.entries.buffer, 0, std::as_writable_bytes(std::span(entries)));
    backend.wait();
    std::vector<float> told;
    std::vector<int32_t> come;
    for (size_t i = 4; i < entries.size(); i += 4) {
        for (const size_t number : {i, i + 1, i + 3}) told.push_back(static_cast<float>(entries[number]));
        if (entries[i + 1] == 0) continue;
        come.push_back(entries[i + 1] - 1);
        slots[static_cast<size_t>(come.back())] = entries[i];
    }
    context.result(told);
    if (come.empty()) return;
    records.slots = context.integers(slots);
    const auto count = static_cast<int64_t>(come.size());
    const Tensor out = context.output(count, shape.hidden);
    backend.run(RoutedMlp{
        .x = context.random(1, shape.hidden), .ids = int_table(backend, come, count), .records = records, .out = out});
    context.result(out);
}

}  // namespace

void experts_in_company(CaseContext& context, int64_t rows) {
    const RoutedShape shape{WeightFormat::affine(4, 64, DType::kBF16), 256, 128, 12, 4};
    const RoutedMlp all = routed_operation(context, shape, rows, false);
    const Tensor apart = context.output(rows * shape.top_k, shape.hidden);
    context.backend().run(all);
    for (int64_t row = 0; row < rows; ++row) {
        RoutedMlp alone = all;
        alone.x = all.x.rows_at(row, 1);
        alone.ids = all.ids.rows_at(row, 1);
        alone.out = apart.rows_at(row * shape.top_k, shape.top_k);
        context.backend().run(alone);
    }
    context.result(all.out);
    context.result(apart);
}

std::vector<OpCase> step_expert_cases(bool recorded) {
    return {{"Step, experts", Rounding::kInt8, [=](CaseContext& context) { step_of_experts(context, recorded); }}};
}

std::vector<OpCase> routed_cases() {
    const WeightFormat affine = WeightFormat::affine(4, 64, DType::kBF16);
    const Activation clamped{.kind = ActivationKind::kClampedSwiglu, .alpha = 1.702f, .limit = 0.8f, .up_offset = 1};
    std::vector<OpCase> cases = {{"FetchExperts", Rounding::kInt8, fetch_experts}};
    for (const RoutedShape& shape :
         {RoutedShape{affine, 128, 192, 9, 3}, RoutedShape{affine, 192, 128, 40, 8},
          RoutedShape{WeightFormat::affine(8, 32, DType::kF16), 160, 96, 5, 2},
          RoutedShape{WeightFormat::floating(DType::kBF16), 70, 101, 4, 2},
          RoutedShape{kMxfp4Codec.standard, 96, 64, 6, 4, clamped}, RoutedShape{kQ4_KCodec.standard, 256, 256, 3, 2}}) {
        cases.push_back({"RoutedMlp, " + shape.format.describe() + ", of " + std::to_string(shape.experts),
                         rounding_of(shape.format), [shape](CaseContext& context) { routed_mlp(context, shape); }});
    }
    for (const WeightFormat& format : {affine, WeightFormat::floating(DType::kBF16)}) {
        const RoutedShape bare{format, 128, 192, 5, 2, {.kind = ActivationKind::kSquaredRelu}};
        cases.push_back({"RoutedMlp, no gate, " + format.describe(), rounding_of(format),
                         [bare](CaseContext& context) { routed_mlp(context, bare); }});
    }
    const RoutedShape mixed{affine, 128, 192, 5, 2, {}, WeightFormat::affine(6, 32, DType::kF16)};
    cases.push_back({"RoutedMlp, gates of another format", Rounding::kInt8,
                     [mixed](CaseContext& context) { routed_mlp(context, mixed); }});
    return cases;
}

}  // namespace sluice
