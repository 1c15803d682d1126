// Every operation refuses fields that contradict each other, naming itself and the field.

#include <gtest/gtest.h>

#include <limits>

#include "backend/kv_layout.h"
#include "tensor/codecs.h"
#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

class CheckTest : public ::testing::Test {
  protected:
    Tensor matrix(int64_t rows, int64_t columns) { return zeros(*backend_, rows, columns); }
    Tensor column(int64_t rows) { return zeros(*backend_, rows, 1, DType::kI32); }

    Weight weight(const WeightFormat& format, int64_t rows, int64_t columns) {
        const auto part = [&](uint64_t bytes) { return WeightPart{backend_->allocate(bytes), 0}; };
        Weight result;
        result.format = format;
        result.rows = rows;
        result.columns = columns;
        result.data = part(format.data_bytes(rows, columns));
        if (format.has_scales()) result.scales = part(format.scale_bytes(rows, columns));
        if (format.has_zero_points()) result.zero_points = part(format.zero_point_bytes(rows, columns));
        return result;
    }
    Weight floats(int64_t rows, int64_t columns) { return weight(WeightFormat::floating(DType::kF32), rows, columns); }

    // `op` runs; after `change` it is refused with words of the message.
    template <typename Op>
    void refuses(const Op& op, const std::function<void(Op&)>& change, std::vector<std::string> words) {
        ASSERT_NO_THROW(backend_->run(op));
        ASSERT_NO_THROW(backend_->wait());
        Op broken = op;
        change(broken);
        // What tensors hold is found out when the operation runs.
        expect_usage_error(
            [&] {
                backend_->run(broken);
                backend_->wait();
            },
            words);
    }
    Tensor numbers(const std::vector<int32_t>& values) { return ints_of(*backend_, values); }
    Sequences sequences(const std::vector<SequenceRows>& rows) { return sequences_of(*backend_, rows); }

    std::unique_ptr<Backend> backend_ = make_reference_backend();
};

TEST_F(CheckTest, TensorsOfTheWrongShape) {
    const RmsNorm op{.x = matrix(3, 8), .weight = matrix(1, 4), .epsilon = 0, .out = matrix(3, 8)};
    refuses<RmsNorm>(op, [&](RmsNorm& o) { o.out = matrix(2, 8); }, {"RmsNorm: out", "[2, 8]", "[3, 8]"});
    refuses<RmsNorm>(op, [&](RmsNorm& o) { o.weight = matrix(1, 3); }, {"RmsNorm: x.columns", "8", "multiple of 3"});
    refuses<RmsNorm>(op, [&](RmsNorm& o) { o.weight = matrix(2, 4); }, {"RmsNorm: weight", "[1, *]"});
    refuses<RmsNorm>(op, [&](RmsNorm& o) { o.x.rows = -1; }, {"RmsNorm: x", "[-1, 8]"});
    refuses<RmsNorm>(op, [&](RmsNorm& o) { o.x.columns = 0; }, {"RmsNorm: x", "[3, 0]"});
}

TEST_F(CheckTest, TensorsThatDoNotFitTheirBuffer) {
    const SigmoidGate op{.x = matrix(3, 8), .gate = matrix(3, 8)};
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.buffer = nullptr; }, {"SigmoidGate: gate", "no buffer"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.offset = 4; }, {"SigmoidGate: gate", "96 bytes at offset 4"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.row_stride = 9; }, {"SigmoidGate: gate", "104 bytes"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.row_stride = 7; }, {"SigmoidGate: gate", "7 elements apart"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.offset = 2; }, {"SigmoidGate: gate", "byte 2"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.offset = ~uint64_t{3}; }, {"SigmoidGate: gate", "offset"});
    refuses<SigmoidGate>(op, [](SigmoidGate& o) { o.gate.row_stride = std::numeric_limits<int64_t>::max(); },
                         {"SigmoidGate: gate"});
}

TEST_F(CheckTest, ElementTypes) {
    const Embed op{.ids = column(2), .table = floats(3, 4), .out = matrix(2, 4)};
    refuses<Embed>(op, [&](Embed& o) { o.ids = matrix(2, 1); }, {"Embed: ids", "F32", "I32"});
    refuses<Embed>(op, [&](Embed& o) { o.out.dtype = DType::kI32; }, {"Embed: out", "F32 [2, 4]"});
}

TEST_F(CheckTest, Weights) {
    const auto affine = WeightFormat::affine(4, 64, DType::kBF16);
    const Linear op{.x = matrix(2, 128), .weight = weight(affine, 3, 128), .out = matrix(2, 3)};
    const auto with = [&](const std::function<void(Weight&)>& change, std::vector<std::string> words) {
        refuses<Linear>(
            op, [&](Linear& o) { change(o.weight); }, std::move(words));
    };
    with([](Weight& w) { w.columns = 64; }, {"Linear: weight", "[3, 64]", "[*, 128]"});
    with([](Weight& w) { w.rows = 4; }, {"Linear: weight", "256 bytes"});
    with([](Weight& w) { w.scales.buffer = nullptr; }, {"Linear: scales of weight", "no buffer"});
    with([](Weight& w) { w.zero_points.offset = 1; }, {"Linear: zero points of weight", "offset 1"});
    with([](Weight& w) { w.format.bits = 7; }, {"Linear: weight", "7 bits"});
    with([](Weight& w) { w.format.group_size = 0; }, {"Linear: weight", "groups of 0"});
    with([](Weight& w) { w.format.dtype = DType::kU8; }, {"Linear: weight", "U8"});
    with([](Weight& w) { w.format = WeightFormat::floating(DType::kF64); }, {"Linear: weight", "F64"});
}

TEST_F(CheckTest, GroupsMustDivideTheColumns) {
    const Linear op{.x = matrix(1, 32), .weight = weight(kMxfp4Codec.standard, 2, 32), .out = matrix(1, 2)};
    refuses<Linear>(op,
                    [&](Linear& o) {
                        o.x = matrix(1, 40);
                        o.weight = weight(kMxfp4Codec.standard, 2, 40);
                    },
                    {"Linear: weight", "40 columns", "groups of 32"});
}

TEST_F(CheckTest, BlocksStartInsideOfABlockAndHaveAllScales) {
    const Linear op{
        .x = matrix(1, 40), .weight = weight(WeightFormat::fp8_block(16, 32), 20, 40), .out = matrix(1, 20)};
    refuses<Linear>(op, [](Linear& o) { o.weight.block_row_offset = 16; }, {"Linear: weight", "row 16"});
    refuses<Linear>(op, [](Linear& o) { o.weight.block_row_offset = -1; }, {"Linear: weight", "row -1"});
    refuses<Linear>(op, [](Linear& o) { o.weight.block_row_offset = 13; }, {"Linear: scales of weight", "24 bytes"});
}

TEST_F(CheckTest, SharedMemory) {
    const Linear linear{.x = matrix(2, 4), .weight = floats(4, 4), .out = matrix(2, 4)};
    refuses<Linear>(linear, [](Linear& o) { o.out = o.x; }, {"Linear: out", "shares memory with x"});

    // Side by side in one matrix is apart; one column too far is not.
    const Tensor wide = matrix(3, 9);
    const SigmoidGate gate{.x = wide.columns_at(0, 4), .gate = wide.columns_at(4, 4)};
    refuses<SigmoidGate>(gate, [&](SigmoidGate& o) { o.gate = wide.columns_at(3, 4); }, {"SigmoidGate: x", "shares"});
    refuses<SigmoidGate>({wide.columns_at(5, 4), wide.columns_at(1, 4)},
                         [&](SigmoidGate& o) { o.gate = wide.columns_at(2, 4); }, {"SigmoidGate: x", "shares"});

    // In place means the very same tensor.
    const Tensor x = wide.columns_at(0, 4);
    const RmsNorm norm{.x = x, .weight = matrix(1, 4), .epsilon = 0, .out = x};
    refuses<RmsNorm>(norm, [&](RmsNorm& o) { o.out = wide.columns_at(1, 4); },
                     {"RmsNorm: out", "shares memory with x"});
}

TEST_F(CheckTest, Rotary) {
    const sluice::Rotary op{
        .x = matrix(2, 12), .positions = column(2), .frequencies = matrix(1, 2), .head_dim = 6, .first = 2};
    using Op = sluice::Rotary;
    refuses<Op>(op, [](Op& o) { o.first = 3; }, {"Rotary: first", "4 rotated dims", "head of 6"});
    refuses<Op>(op, [](Op& o) { o.first = -1; }, {"Rotary: first"});
    refuses<Op>(op, [](Op& o) { o.head_dim = 0; }, {"Rotary: head_dim", "is 0"});
    refuses<Op>(op, [](Op& o) { o.head_dim = 5; }, {"Rotary: x.columns", "multiple of 5"});
    refuses<Op>(op, [&](Op& o) { o.positions = column(3); }, {"Rotary: positions"});
}

TEST_F(CheckTest, Routers) {
    const Route softmax{
        .logits = matrix(2, 4), .normalize = true, .ids = zeros(*backend_, 2, 3, DType::kI32), .weights = matrix(2, 3)};
    refuses<Route>(softmax, [&](Route& o) { o.weights = matrix(2, 2); }, {"Route: weights"});
    refuses<Route>(softmax,
                   [&](Route& o) {
                       o.ids = zeros(*backend_, 2, 5, DType::kI32);
                       o.weights = matrix(2, 5);
                   },
                   {"Route: ids", "5 experts", "at most 4"});

    const Route grouped{.logits = matrix(2, 8),
                        .bias = matrix(1, 8),
                        .score = RouterScore::kSigmoid,
                        .groups = 4,
                        .groups_kept = 2,
                        .ids = zeros(*backend_, 2, 4, DType::kI32),
                        .weights = matrix(2, 4)};
    refuses<Route>(grouped, [](Route& o) { o.groups = 3; }, {"Route: logits.columns", "multiple of 3"});
    refuses<Route>(grouped, [](Route& o) { o.groups = 0; }, {"Route: groups", "is 0"});
    refuses<Route>(grouped, [](Route& o) { o.groups_kept = 5; }, {"Route: groups_kept", "is 5"});
    refuses<Route>(grouped, [](Route& o) { o.groups_kept = 1; }, {"Route: ids", "at most 2"});
    refuses<Route>(grouped, [&](Route& o) { o.bias = matrix(1, 7); }, {"Route: bias"});
}

TEST_F(CheckTest, MlpGroups) {
    const GatedMlp op{.x = matrix(3, 4),
                      .groups = {{.gate = floats(5, 4),
                                  .up = floats(5, 4),
                                  .down = floats(4, 5),
                                  .rows = numbers({0, 2}),
                                  .out_rows = numbers({1, 0})},
                                 {.gate = floats(6, 4),
                                  .up = floats(6, 4),
                                  .down = floats(4, 6),
                                  .rows = numbers({1}),
                                  .out_rows = numbers({2})}},
                      .out = matrix(3, 4)};
    const auto with = [&](const std::function<void(MlpGroup&)>& change, std::vector<std::string> words) {
        refuses<GatedMlp>(
            op, [&](GatedMlp& o) { change(o.groups[1]); }, std::move(words));
    };
    with([&](MlpGroup& g) { g.up = floats(5, 4); }, {"GatedMlp: up of groups", "[5, 4]", "[6, 4]"});
    with([&](MlpGroup& g) { g.down = floats(4, 5); }, {"GatedMlp: down of groups", "[4, 6]"});
    with([&](MlpGroup& g) { g.rows = numbers({3}); }, {"GatedMlp: rows of groups", "row 3", "there are 3"});
    with([&](MlpGroup& g) { g.out_rows = numbers({-1}); }, {"GatedMlp: out_rows of groups", "row -1"});
    with([&](MlpGroup& g) { g.out_rows = numbers({1}); }, {"GatedMlp: out_rows of groups", "row 1 twice"});
    with([&](MlpGroup& g) { g.rows = numbers({1, 0}); }, {"GatedMlp: out_rows of groups", "are 1, rows are 2"});
    with([&](MlpGroup& g) { g.rows = g.out_rows = {}; }, {"GatedMlp: out_rows of groups", "twice"});
}

TEST_F(CheckTest, RowsAndParts) {
    refuses<GatherRows>({.x = matrix(2, 4), .rows = numbers({1}), .out = matrix(1, 4)},
                        [&](GatherRows& o) { o.rows = numbers({2}); }, {"GatherRows: rows", "row 2", "there are 2"});
    refuses<CombineExperts>({.parts = matrix(4, 3), .weights = matrix(2, 2), .out = matrix(2, 3)},
                            [&](CombineExperts& o) { o.parts = matrix(3, 3); },
                            {"CombineExperts: parts", "multiple of 2"});
    refuses<AddGated>({.x = matrix(2, 4), .gate = matrix(2, 1), .out = matrix(2, 4)},
                      [&](AddGated& o) { o.gate = matrix(1, 1); }, {"AddGated: gate", "[2, 1]"});
    refuses<SplitQueryGate>({.fused = matrix(2, 8), .head_dim = 2, .query = matrix(2, 4), .gate = matrix(2, 4)},
                            [&](SplitQueryGate& o) { o.gate = o.query; }, {"SplitQueryGate: gate", "query"});
}

TEST_F(CheckTest, Caches) {
    const GroupedKvLayout layout(KvFormat::kBF16, 2, 2, 4, 4);
    CacheBuilder builder(KvFormat::kBF16, 2, layout.page_bytes());
    builder.add_empty(4);
    builder.add_empty(4);
    const Attention op{.query = matrix(3, 16),
                       .heads = 4,
                       .kv_heads = 2,
                       .scale = 1,
                       .sequences = sequences(
                           {{.first_row = 0, .count = 1, .position = 3}, {.first_row = 1, .count = 2, .position = 0}}),
                       .cache = builder.build(*backend_),
                       .out = matrix(3, 16)};
    const auto with = [&](const std::function<void(PagedCache&)>& change, std::vector<std::string> words) {
        refuses<Attention>(
            op, [&](Attention& o) { change(o.cache); }, std::move(words));
    };
    const auto second = [&](const SequenceRows& rows, std::vector<std::string> words) {
        refuses<Attention>(
            op,
            [&](Attention& o) {
                o.sequences = sequences({{.first_row = 0, .count = 1, .position = 3}, rows});
            },
            std::move(words));
    };
    second({.first_row = 0, .count = 2}, {"Attention: sequences", "follow each other from 1"});
    second({.first_row = 1, .count = 0}, {"Attention: sequences", "0 rows"});
    second({.first_row = 1, .count = 1}, {"Attention: sequences", "2 rows", "batch has 3"});
    second({.first_row = 1, .count = 2, .position = -1}, {"Attention: sequences", "position -1"});
    second({.first_row = 1, .count = 2, .position = 3}, {"Attention: pages of cache", "2 pages", "5 tokens need 3"});
    refuses<Attention>(op, [](Attention& o) { o.sequences.most_rows = 1; },
                       {"Attention: sequences", "2 rows", "said were 1 rows"});
    refuses<Attention>(op, [](Attention& o) { o.sequences.rows.columns = 2; }, {"Attention: rows of sequences"});
    with([](PagedCache& c) { c.page_tokens = 0; }, {"Attention: page_tokens of cache"});
    with([](PagedCache& c) { c.pool = nullptr; }, {"Attention: pool of cache", "no buffer"});
    with([&](PagedCache& c) { c.page_bytes = layout.page_bytes() - 1; },
         {"Attention: page_bytes of cache", "are 63", "take 64"});
    with(
        [](PagedCache& c) {
            c.format = KvFormat::kF32;
            c.page_bytes = 64;
        },
        {"Attention: page_bytes of cache", "128"});
    with(
        [&](PagedCache& c) {
            c.pages = int_table(*backend_, {0, 8, 2, 4}, 2);
        },
        {"Attention: pages of cache", "page 8", "the pool has 8"});
    with([&](PagedCache& c) { c.pages = c.pages.rows_at(0, 1); }, {"Attention: pages of cache", "[2, *]"});
    refuses<Attention>(op, [](Attention& o) { o.kv_heads = 3; }, {"Attention: heads", "multiple of 3"});
}

TEST_F(CheckTest, States) {
    const CausalConvolution op{.x = matrix(2, 3),
                               .weight = matrix(3, 4),
                               .sequences = sequences({{.first_row = 0, .count = 2}}),
                               .states = states_of(*backend_, {std::vector<float>(9)}, 3, 3),
                               .out = matrix(2, 3)};
    refuses<CausalConvolution>(op, [](CausalConvolution& o) { o.states.rows = 4; },
                               {"CausalConvolution: states", "[4, 3]", "[3, 3]"});
    refuses<CausalConvolution>(op, [](CausalConvolution& o) { o.states.slot_bytes = 32; },
                               {"CausalConvolution: slot_bytes of states", "36"});
    refuses<CausalConvolution>(op, [](CausalConvolution& o) { o.out = o.x; }, {"CausalConvolution: out"});

    const GatedDeltaRule rule{.qkv = matrix(2, 2 * 3 + 8),
                              .b = matrix(2, 2),
                              .a = matrix(2, 2),
                              .a_log = matrix(1, 2),
                              .dt_bias = matrix(1, 2),
                              .key_heads = 1,
                              .value_heads = 2,
                              .key_dim = 3,
                              .value_dim = 4,
                              .sequences = sequences({{.first_row = 0, .count = 2}}),
                              .states = states_of(*backend_, {std::vector<float>(24)}, 8, 3),
                              .out = matrix(2, 8)};
    using Rule = GatedDeltaRule;
    refuses<Rule>(rule, [](Rule& o) { o.key_heads = 2; }, {"GatedDeltaRule: qkv", "[*, 20]"});
    refuses<Rule>(rule, [](Rule& o) { o.states.columns = 4; }, {"GatedDeltaRule: states", "[8, 3]"});
    refuses<Rule>(rule, [&](Rule& o) { o.sequences = sequences({{.count = 1}}); },
                  {"GatedDeltaRule: sequences", "1 rows", "batch has 2"});
    refuses<Rule>(rule, [&](Rule& o) { o.states.slots = numbers({2}); }, {"GatedDeltaRule: slots of states", "slot 2"});
    refuses<Rule>(rule, [](Rule& o) { o.a = o.out.columns_at(2, 2); }, {"GatedDeltaRule: out", "shares memory with a"});

    // Two sequences never share a state.
    const Rule two{.qkv = rule.qkv,
                   .b = rule.b,
                   .a = rule.a,
                   .a_log = rule.a_log,
                   .dt_bias = rule.dt_bias,
                   .key_heads = 1,
                   .value_heads = 2,
                   .key_dim = 3,
                   .value_dim = 4,
                   .sequences = sequences({{.first_row = 0, .count = 1}, {.first_row = 1, .count = 1}}),
                   .states = states_of(*backend_, {std::vector<float>(24), std::vector<float>(24)}, 8, 3),
                   .out = rule.out};
    refuses<Rule>(two,
                  [&](Rule& o) {
                      o.states.slots = numbers({1, 1});
                  },
                  {"GatedDeltaRule: slots of states", "slot 1 twice"});
}

TEST_F(CheckTest, LatentAttentionAndItsProjections) {
    CacheBuilder builder(KvFormat::kInt8, 4, LatentKvLayout(KvFormat::kInt8, 4, 5, 2).page_bytes());
    builder.add_empty(3);
    const LatentAttention whole{.query = matrix(2, 18),
                                .key = floats(27, 5),
                                .value_weight = floats(27, 5),
                                .transposed = true,
                                .heads = 3,
                                .nope = 4,
                                .rope = 2,
                                .value = 5,
                                .scale = 1,
                                .sequences = sequences({{.first_row = 0, .count = 2, .position = 1}}),
                                .cache = builder.build(*backend_),
                                .scratch = matrix(2, 36),
                                .out = matrix(2, 15)};
    using Op = LatentAttention;
    refuses<Op>(whole, [&](Op& o) { o.key = floats(24, 5); }, {"LatentAttention: key", "[27, 5]"});
    refuses<Op>(whole, [](Op& o) { o.rope = 3; }, {"LatentAttention: query"});
    refuses<Op>(whole, [&](Op& o) { o.value_weight = floats(15, 5); }, {"LatentAttention: value_weight", "[27, 5]"});
    refuses<Op>(whole, [](Op& o) { o.heads = 4; }, {"LatentAttention: query", "[*, 24]"});
    refuses<Op>(whole, [&](Op& o) { o.scratch = matrix(2, 35); }, {"LatentAttention: scratch", "[2, 36]"});
    refuses<Op>(whole, [&](Op& o) { o.out = matrix(2, 12); }, {"LatentAttention: out", "[2, 15]"});
    refuses<Op>(whole, [](Op& o) { o.out = o.scratch.columns_at(0, 15); }, {"LatentAttention: out", "scratch"});
    refuses<Op>(whole, [](Op& o) { o.scratch.buffer = nullptr; }, {"LatentAttention: scratch", "no buffer"});
    refuses<Op>(whole, [&](Op& o) { o.sequences = sequences({{.count = 2, .position = 3}}); },
                {"LatentAttention: pages of cache", "5 tokens need 2"});

    Op split = whole;
    split.transposed = false;
    split.key = floats(15, 4);
    split.value_weight = floats(15, 5);
    refuses<Op>(split, [&](Op& o) { o.key = floats(14, 4); }, {"LatentAttention: key.rows", "multiple of 3"});
    refuses<Op>(split, [&](Op& o) { o.key = floats(15, 5); }, {"LatentAttention: key", "[*, 4]"});
    refuses<Op>(split, [&](Op& o) { o.value_weight = floats(27, 5); }, {"LatentAttention: value_weight", "[15, 5]"});
    refuses<AppendLatent>(
        {.latent = matrix(2, 5), .rotary_key = matrix(2, 2), .sequences = whole.sequences, .cache = whole.cache},
        [&](AppendLatent& o) { o.rotary_key = matrix(1, 2); }, {"AppendLatent: rotary_key"});
}

TEST_F(CheckTest, Transfers) {
    const BufferPtr buffer = backend_->allocate(8);
    std::vector<std::byte> bytes(9);
    expect_usage_error([&] { backend_->upload(buffer, 0, bytes); }, {"upload: target", "9 bytes", "8 bytes"});
    expect_usage_error([&] { backend_->download(buffer, 1, std::span(bytes).first(8)); }, {"download: source"});
    expect_usage_error([&] { backend_->copy(buffer, 0, buffer, 4, 5); }, {"copy: target"});
    expect_usage_error([&] { backend_->copy(nullptr, 0, buffer, 0, 1); }, {"copy: source", "no buffer"});
}

TEST(TensorParts, LieInsideOfTheWhole) {
    const Tensor whole = make_tensor(nullptr, DType::kF32, 4, 6, 8);
    const Tensor part = whole.rows_at(1, 2).columns_at(2, 3);
    EXPECT_EQ(part.offset, 8u + 4 * (6 + 2));
    EXPECT_EQ(part.rows, 2);
    EXPECT_EQ(part.columns, 3);
    EXPECT_EQ(part.row_stride, 6);
    expect_usage_error([&] { whole.rows_at(3, 2); }, {"2 tensor rows from 3", "there are 4"});
    expect_usage_error([&] { whole.columns_at(-1, 2); }, {"tensor columns"});
    expect_usage_error([&] { whole.rows_at(0, -1); }, {"tensor rows"});
    expect_usage_error([&] { whole.rows_at(1, std::numeric_limits<int64_t>::max()); }, {"tensor rows"});
}

TEST(WeightParts, ShareBlocksOfScales) {
    Weight weight;
    weight.format = WeightFormat::fp8_block(16, 32);
    weight.rows = 50;
    weight.columns = 40;
    const Weight part = weight.rows_at(10, 30).rows_at(9, 20);  // row 19: the second block, third row
    EXPECT_EQ(part.data.offset, 19u * 40);
    EXPECT_EQ(part.scales.offset, 2u * sizeof(float));
    EXPECT_EQ(part.block_row_offset, 3);
    EXPECT_EQ(part.rows, 20);

    weight.format = WeightFormat::affine(3, 64, DType::kBF16);
    weight.columns = 128;
    const Weight affine = weight.rows_at(2, 3);
    EXPECT_EQ(affine.data.offset, 2u * 48);
    EXPECT_EQ(affine.scales.offset, 2u * 4);
    EXPECT_EQ(affine.zero_points.offset, 2u * 4);
    expect_usage_error([&] { weight.rows_at(50, 1); }, {"weight rows"});
}

}  // namespace
}  // namespace sluice
