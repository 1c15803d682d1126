// A row's numbers do not depend on its company: alone, in a batch, on any number of threads.

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "backend/backend.h"
#include "backend/kv_layout.h"
#include "tensor/weight_view.h"
#include "tests/backend/step_tables.h"

namespace sluice {
namespace {

class CpuBatch : public ::testing::TestWithParam<bool> {
  protected:
    std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 3, .exact = GetParam()});
    std::mt19937 random_{5};

    std::vector<float> normals(int64_t count) {
        std::normal_distribution<float> normal;
        std::vector<float> values(static_cast<size_t>(count));
        for (float& value : values) value = normal(random_);
        return values;
    }
    BufferPtr bytes(std::span<const std::byte> content) {
        BufferPtr buffer = backend_->allocate(content.size());
        backend_->upload(buffer, 0, content);
        return buffer;
    }
    Tensor random(int64_t rows, int64_t columns) {
        const std::vector<float> content = normals(rows * columns);
        return make_tensor(bytes(std::as_bytes(std::span(content))), DType::kF32, rows, columns);
    }
    Tensor empty(int64_t rows, int64_t columns) {
        return make_tensor(backend_->allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32, rows,
                           columns);
    }
    Weight affine(int bits, int group, int64_t rows, int64_t columns) {
        const WeightFormat format = WeightFormat::affine(bits, group, DType::kBF16);
        std::vector<std::byte> data(format.data_bytes(rows, columns)), scales(format.scale_bytes(rows, columns));
        std::vector<std::byte> zero_points(format.zero_point_bytes(rows, columns));
        encode(format, normals(rows * columns).data(), rows, columns, {data.data(), scales.data(), zero_points.data()});
        return {format, rows, columns, {bytes(data)}, {bytes(scales)}, {bytes(zero_points)}};
    }
    std::vector<float> values(const Tensor& tensor) {
        std::vector<float> out(static_cast<size_t>(tensor.rows * tensor.columns));
        for (int64_t r = 0; r < tensor.rows; ++r) {
            backend_->download(tensor.buffer,
                               tensor.offset + static_cast<uint64_t>(r * tensor.row_stride) * sizeof(float),
                               std::as_writable_bytes(std::span(out).subspan(static_cast<size_t>(r * tensor.columns),
                                                                             static_cast<size_t>(tensor.columns))));
        }
        backend_->wait();
        return out;
    }
};

TEST_P(CpuBatch, LinearRowsAreTheSameAlone) {
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        for (const int group : {32, 64, 128}) {
            const int64_t columns = group == 128 ? 384 : 320;
            const Weight weight = affine(bits, group, 100, columns);
            const Tensor x = random(300, columns), together = empty(300, 100), alone = empty(300, 100);
            backend_->run(Linear{.x = x, .weight = weight, .out = together});
            for (int64_t t = 0; t < 300; ++t) {
                backend_->run(Linear{.x = x.rows_at(t, 1), .weight = weight, .out = alone.rows_at(t, 1)});
            }
            EXPECT_EQ(values(together), values(alone)) << bits << " bits, groups of " << group;
        }
    }
}

TEST_P(CpuBatch, ExpertRowsAreTheSameAlone) {
    const int64_t hidden = 192, inner = 160, rows = 40;
    const Tensor x = random(rows, hidden), together = empty(3 * rows, hidden), alone = empty(3 * rows, hidden);
    GatedMlp op{.x = x, .groups = {}, .out = together};
    for (int32_t expert = 0; expert < 3; ++expert) {
        const int bits = expert == 1 ? 8 : 4;
        MlpGroup group{affine(bits, 64, inner, hidden), affine(4, 64, inner, hidden), affine(4, 32, hidden, inner)};
        std::vector<int32_t> wanted, targets;
        for (int32_t row = expert; row < rows; row += expert + 1) {
            wanted.push_back(row);
            targets.push_back(3 * row + expert);
        }
        group.rows = int_table(*backend_, wanted, 1);
        group.out_rows = int_table(*backend_, targets, 1);
        op.groups.push_back(group);
    }
    backend_->run(op);
    for (const MlpGroup& group : op.groups) {
        for (int64_t i = 0; i < group.rows.rows; ++i) {
            MlpGroup one = group;
            one.rows = group.rows.rows_at(i, 1);
            one.out_rows = group.out_rows.rows_at(i, 1);
            backend_->run(GatedMlp{.x = x, .groups = {one}, .out = alone});
        }
    }
    EXPECT_EQ(values(together), values(alone));
}

TEST_P(CpuBatch, AttentionDoesNotDependOnTheChunk) {
    const int64_t heads = 6, kv_heads = 2, head_dim = 40, tokens = 150;
    for (const KvFormat format : {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8}) {
        CacheBuilder builder(format, 48, GroupedKvLayout(format, 48, kv_heads, head_dim, head_dim).page_bytes());
        builder.add_empty(tokens);
        const PagedCache cache = builder.build(*backend_);
        const Sequences all = sequences_of(*backend_, {{0, tokens, 0}});
        backend_->run(AppendKeyValue{.keys = random(tokens, kv_heads * head_dim),
                                     .values = random(tokens, kv_heads * head_dim),
                                     .kv_heads = kv_heads,
                                     .sequences = all,
                                     .cache = cache});
        const Tensor query = random(tokens, heads * head_dim);
        const Tensor together = empty(tokens, heads * head_dim), alone = empty(tokens, heads * head_dim);
        Attention op{.query = query,
                     .heads = heads,
                     .kv_heads = kv_heads,
                     .scale = 0.15f,
                     .sequences = all,
                     .cache = cache,
                     .out = together};
        backend_->run(op);
        for (int64_t first = 0, count = 1; first < tokens; first += count, count = first % 7 + 1) {
            count = std::min(count, tokens - first);
            op.query = query.rows_at(first, count);
            op.out = alone.rows_at(first, count);
            op.sequences = sequences_of(*backend_, {{0, count, first}});
            backend_->run(op);
        }
        EXPECT_EQ(values(together), values(alone)) << kv_format_name(format);
    }
}

// The state that a piece leaves and the outputs of the next are those of one pass over all tokens.
TEST_P(CpuBatch, TheDeltaRuleDoesNotDependOnTheChunk) {
    const int64_t key_heads = 2, value_heads = 4, tokens = 150;
    using Shape = std::pair<int64_t, bool>;  // of a head, and whether its channels have decays of their own
    for (const auto& [dim, by_channel] : {Shape(33, false), Shape(128, false), Shape(40, true)}) {
        const int64_t values_width = value_heads * dim, decays = by_channel ? values_width : value_heads;
        const Tensor qkv = random(tokens, 2 * key_heads * dim + values_width);
        const Tensor b = random(tokens, value_heads), a = random(tokens, decays);
        const Tensor together = empty(tokens, values_width), alone = empty(tokens, values_width);
        const std::vector<float> start = normals(values_width * dim);
        const StateSlots of_all = states_of(*backend_, {start}, values_width, dim);
        const StateSlots of_pieces = states_of(*backend_, {start}, values_width, dim);
        GatedDeltaRule op{.qkv = qkv,
                          .b = b,
                          .a = a,
                          .a_log = random(1, value_heads),
                          .dt_bias = random(1, decays),
                          .key_heads = key_heads,
                          .value_heads = value_heads,
                          .key_dim = dim,
                          .value_dim = dim,
                          .sequences = sequences_of(*backend_, {{0, tokens, 0}}),
                          .states = of_all,
                          .out = together};
        backend_->run(op);
        for (int64_t first = 0, count = 1; first < tokens; first += count, count = first % 64 + 1) {
            count = std::min(count, tokens - first);
            op.qkv = qkv.rows_at(first, count);
            op.b = b.rows_at(first, count);
            op.a = a.rows_at(first, count);
            op.out = alone.rows_at(first, count);
            op.sequences = sequences_of(*backend_, {{0, count, first}});
            op.states = of_pieces;
            backend_->run(op);
        }
        EXPECT_EQ(values(together), values(alone)) << "dim " << dim;
        EXPECT_EQ(read_state(*backend_, of_all, 0), read_state(*backend_, of_pieces, 0)) << "dim " << dim;
    }
}

INSTANTIATE_TEST_SUITE_P(ExactOrNot, CpuBatch, ::testing::Bool());

}  // namespace
}  // namespace sluice
