// Every operation refuses fields that contradict each other, naming itself and the field.

#include <gtest/gtest.h>

#include <limits>

#include "backend/kv_layout.h"
#include "tensor/codecs.h"
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
        expect_usage_error([&] { backend_->run(broken); }, words);
    }

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
    const GatedMlp op{
        .x = matrix(3, 4),
        .groups = {{.gate = floats(5, 4), .up = floats(5, 4), .down = floats(4, 5), .rows = {0, 2}, .out_rows = {1, 0}},
                   {.gate = floats(6, 4), .up = floats(6, 4), .down = floats(4, 6), .rows = {1}, .out_rows = {2}}},
        .out = matrix(3, 4)};
    const auto with = [&](const std::function<void(MlpGroup&)>& change, std::vector<std::string> words) {
        refuses<GatedMlp>(
            op, [&](GatedMlp& o) { change(o.groups[1]); }, std::move(words));
    };
    with([&](MlpGroup& g) { g.up = floats(5, 4); }, {"GatedMlp: up of groups", "[5, 4]", "[6, 4]"});
    with([&](MlpGroup& g) { g.down = floats(4, 5); }, {"GatedMlp: down of groups", "[4, 6]"});
    with([](MlpGroup& g) { g.rows[0] = 3; }, {"GatedMlp: rows of groups", "row 3", "there are 3"});
    with([](MlpGroup& g) { g.out_rows[0] = -1; }, {"GatedMlp: out_rows of groups", "row -1"});
    with([](MlpGroup& g) { g.out_rows[0] = 1; }, {"GatedMlp: out_rows of groups", "row 1 twice"});
    with([](MlpGroup& g) { g.rows.push_back(0); }, {"GatedMlp: out_rows of groups", "are 1, rows are 2"});
}

TEST_F(CheckTest, RowsAndParts) {
    refuses<GatherRows>({.x = matrix(2, 4), .rows = {1}, .out = matrix(1, 4)}, [](GatherRows& o) { o.rows[0] = 2; },
                        {"GatherRows: rows", "row 2", "there are 2"});
    refuses<CombineExperts>({.parts = matrix(4, 3), .weights = matrix(2, 2), .out = matrix(2, 3)},
                            [&](CombineExperts& o) { o.parts = matrix(3, 3); }, {"CombineExperts: parts", "[4, 3]"});
    refuses<AddGated>({.x = matrix(2, 4), .gate = matrix(2, 1), .out = matrix(2, 4)},
                      [&](AddGated& o) { o.gate = matrix(1, 1); }, {"AddGated: gate", "[2, 1]"});
    refuses<SplitQueryGate>({.fused = matrix(2, 8), .head_dim = 2, .query = matrix(2, 4), .gate = matrix(2, 4)},
                            [&](SplitQueryGate& o) { o.gate = o.query; }, {"SplitQueryGate: gate", "query"});
}

TEST_F(CheckTest, Caches) {
    const GroupedKvLayout layout(KvFormat::kBF16, 2, 2, 4);
    KvPages cache{.format = KvFormat::kBF16, .page_tokens = 2, .pages = {}};
    for (int page = 0; page < 2; ++page) cache.pages.push_back(backend_->allocate(layout.page_bytes()));
    const Attention op{.query = matrix(3, 16),
                       .heads = 4,
                       .kv_heads = 2,
                       .scale = 1,
                       .segments = {{{.first_row = 0, .count = 1, .position = 3}, cache},
                                    {{.first_row = 1, .count = 2, .position = 0}, cache}},
                       .out = matrix(3, 16)};
    const auto with = [&](const std::function<void(KvSegment&)>& change, std::vector<std::string> words) {
        refuses<Attention>(
            op, [&](Attention& o) { change(o.segments[1]); }, std::move(words));
    };
    with([](KvSegment& s) { s.rows.first_row = 0; }, {"Attention: segments", "follow each other from 1"});
    with([](KvSegment& s) { s.rows.count = 0; }, {"Attention: segments", "0 rows"});
    with([](KvSegment& s) { s.rows.count = 1; }, {"Attention: segments", "2 rows", "batch has 3"});
    with([](KvSegment& s) { s.rows.position = -1; }, {"Attention: segments", "position -1"});
    with([](KvSegment& s) { s.rows.position = 3; }, {"Attention: cache of segments", "2 pages", "5 tokens need 3"});
    with([](KvSegment& s) { s.cache.page_tokens = 0; }, {"Attention: page_tokens of segments"});
    with([](KvSegment& s) { s.cache.pages[0] = nullptr; }, {"Attention: cache page of segments", "no buffer"});
    with([&](KvSegment& s) { s.cache.pages[0] = backend_->allocate(layout.page_bytes() - 1); },
         {"Attention: cache page of segments", "64 bytes"});
    with([](KvSegment& s) { s.cache.format = KvFormat::kF32; }, {"Attention: cache page of segments", "128 bytes"});
    refuses<Attention>(op, [](Attention& o) { o.kv_heads = 3; }, {"Attention: heads", "multiple of 3"});
}

TEST_F(CheckTest, States) {
    const CausalConvolution op{.x = matrix(2, 3),
                               .weight = matrix(3, 4),
                               .segments = {{{.first_row = 0, .count = 2}, matrix(3, 3)}},
                               .out = matrix(2, 3)};
    refuses<CausalConvolution>(op, [&](CausalConvolution& o) { o.segments[0].state = matrix(4, 3); },
                               {"CausalConvolution: state of segments", "[3, 3]"});
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
                              .segments = {{{.first_row = 0, .count = 2}, matrix(8, 3)}},
                              .out = matrix(2, 8)};
    using Rule = GatedDeltaRule;
    refuses<Rule>(rule, [](Rule& o) { o.key_heads = 2; }, {"GatedDeltaRule: qkv", "[*, 20]"});
    refuses<Rule>(rule, [&](Rule& o) { o.segments[0].state = matrix(8, 4); }, {"GatedDeltaRule: state of segments"});
    refuses<Rule>(rule, [](Rule& o) { o.segments.clear(); }, {"GatedDeltaRule: segments", "0 rows"});
    refuses<Rule>(rule, [](Rule& o) { o.a = o.out.columns_at(2, 2); }, {"GatedDeltaRule: out", "shares memory with a"});

    // Two sequences never share a state.
    const Rule two{
        .qkv = rule.qkv,
        .b = rule.b,
        .a = rule.a,
        .a_log = rule.a_log,
        .dt_bias = rule.dt_bias,
        .key_heads = 1,
        .value_heads = 2,
        .key_dim = 3,
        .value_dim = 4,
        .segments = {{{.first_row = 0, .count = 1}, matrix(8, 3)}, {{.first_row = 1, .count = 1}, matrix(8, 3)}},
        .out = rule.out};
    refuses<Rule>(two, [](Rule& o) { o.segments[1].state = o.segments[0].state; },
                  {"GatedDeltaRule: state of segments", "shares memory with state of segments"});
}

TEST_F(CheckTest, LatentAttentionAndItsProjections) {
    const LatentKvLayout layout(KvFormat::kInt8, 4, 5, 2);
    const LatentAttention whole{.query = matrix(2, 18),
                                .key = floats(27, 5),
                                .value_weight = floats(27, 5),
                                .transposed = true,
                                .heads = 3,
                                .nope = 4,
                                .rope = 2,
                                .value = 5,
                                .scale = 1,
                                .segments = {{{.first_row = 0, .count = 2, .position = 1},
                                              {.format = KvFormat::kInt8,
                                               .page_tokens = 4,
                                               .pages = {backend_->allocate(layout.page_bytes())}}}},
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
    refuses<Op>(whole, [](Op& o) { o.segments[0].rows.position = 3; }, {"LatentAttention: cache of segments"});

    Op split = whole;
    split.transposed = false;
    split.key = floats(15, 4);
    split.value_weight = floats(15, 5);
    refuses<Op>(split, [&](Op& o) { o.key = floats(14, 4); }, {"LatentAttention: key.rows", "multiple of 3"});
    refuses<Op>(split, [&](Op& o) { o.key = floats(15, 5); }, {"LatentAttention: key", "[*, 4]"});
    refuses<Op>(split, [&](Op& o) { o.value_weight = floats(27, 5); }, {"LatentAttention: value_weight", "[15, 5]"});
    refuses<AppendLatent>({.latent = matrix(2, 5), .rotary_key = matrix(2, 2), .segments = whole.segments},
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
