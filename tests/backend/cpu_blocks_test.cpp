// GGUF's blocks times activations in int8, with every instruction set that this processor has.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/row_tiles.h"
#include "tests/backend/op_cases.h"

namespace sluice {
namespace {

constexpr uint64_t kSeeds = 2;
constexpr InstructionSet kSets[] = {
    InstructionSet::kScalar,         InstructionSet::kAvx2,           InstructionSet::kAvxVnni, InstructionSet::kAvx512,
    InstructionSet::kAvx512WithVnni, InstructionSet::kAvx512WithVbmi, InstructionSet::kAmx,     InstructionSet::kNeon};

std::vector<WeightFormat> block_formats() {
    std::vector<WeightFormat> formats;
    for (const WeightFormat& format : all_weight_formats()) {
        if (rounding_of(format) == Rounding::kInt8 && format.codec != &kAffineCodec) formats.push_back(format);
    }
    return formats;
}

// Whole numbers, and the largest of them in every 16: rounding to int8 does not change them.
std::vector<float> whole_numbers(CaseContext& context, int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = i % 16 == 5 ? (context.flip() ? 127.0f : -127.0f) : static_cast<float>(context.pick(-127, 127));
    }
    return values;
}

OpCase exact_products(const WeightFormat& format, int64_t tokens, int64_t groups) {
    const auto compute = [=](CaseContext& context) {
        const int64_t outputs = context.pick_of({1, 5, 16, 37, 70}), columns = columns_for(format, groups);
        const Tensor x = context.filled(whole_numbers(context, tokens * columns), tokens, columns);
        const Tensor out = context.output(tokens, outputs);
        context.backend().run(Linear{.x = x, .weight = context.weight(format, outputs, columns), .out = out});
        context.result(out);
    };
    return {fmt::format("{}, {} tokens, {} groups", format.describe(), tokens, groups), Rounding::kNone, compute};
}

template <typename Function>
void for_products(Function&& function) {
    for (const WeightFormat& format : block_formats()) {
        // One and several of what a vector takes at once, and more than a kernel takes in one turn.
        for (const int64_t groups : {1, 2, 5, 11, 37}) {
            if (groups * format.run_columns() > 4096) continue;
            for (const int64_t tokens : {1, 3, 31}) {
                for (uint64_t seed = 0; seed < kSeeds; ++seed) function(exact_products(format, tokens, groups), seed);
            }
        }
    }
}

class CpuBlocks : public ::testing::TestWithParam<InstructionSet> {
  protected:
    static std::unique_ptr<Backend> make(InstructionSet set) {
        return make_cpu_backend({.threads = 1, .exact = false, .instruction_set = set});
    }
    void SetUp() override {
        try {
            backend_ = make(GetParam());
        } catch (const Error&) {
            GTEST_SKIP() << "not on this processor";
        }
    }

    std::unique_ptr<Backend> backend_;
};

TEST_P(CpuBlocks, ProductsOfWholeNumbersAreThoseOfTheCodec) {
    const auto reference = make_reference_backend();
    for_products([&](const OpCase& op_case, uint64_t seed) {
        const ErrorStats stats = run_case(op_case, *backend_, *reference, seed);
        EXPECT_LT(stats.max_relative, 2e-5) << op_case.name;
        EXPECT_LT(stats.rms_relative, 2e-6) << op_case.name;
    });
}

// But for scalar, which rounds between product and sum.
TEST_P(CpuBlocks, ProductsAreTheSameInEveryInstructionSet) {
    if (GetParam() == InstructionSet::kScalar || GetParam() == InstructionSet::kNeon) GTEST_SKIP() << "is alone";
    const auto avx2 = make(InstructionSet::kAvx2);
    for_products([&](const OpCase& op_case, uint64_t seed) {
        EXPECT_EQ(run_case(op_case, *backend_, *avx2, seed).max_abs, 0) << op_case.name;
    });
}

Weight in_tiles(CaseContext& context, const Weight& weight) {
    const std::vector<std::byte> buffer = context.download(weight.data.buffer);
    std::vector<std::byte> tiles(weight.format.data_bytes(weight.rows, weight.columns));
    WeightView rows{.format = weight.format, .rows = weight.rows, .columns = weight.columns};
    rows.data = buffer.data() + weight.data.offset;
    tile_rows(rows, {.data = tiles.data()});
    Weight tiled = weight;
    tiled.data = {context.bytes(tiles), 0};
    tiled.tiled = true;
    return tiled;
}

// One row of x after the other times the rows as they are, against all of them at once, and against tiles.
TEST_P(CpuBlocks, TilesGiveEveryBitOfRows) {
    for (const WeightFormat& format : block_formats()) {
        if (!backend_->reads_tiles(format)) continue;
        for (const int64_t groups : {1, 3, 8}) {
            for (const int64_t outputs : {16, 48, 96}) {
                CaseContext context(*backend_, static_cast<uint64_t>(groups * outputs));
                const int64_t columns = columns_for(format, groups);
                const Weight rows = context.weight(format, outputs, columns), tiles = in_tiles(context, rows);
                for (const int64_t tokens : {1, 2, 5, 31}) {
                    const Tensor x = context.random(tokens, columns);
                    const auto product = [&](const Tensor& from, const Weight& weight) {
                        const Tensor out = context.output(from.rows, outputs);
                        backend_->run(Linear{.x = from, .weight = weight, .out = out});
                        context.result(out);
                        return context.results().back();
                    };
                    std::vector<float> wanted;
                    for (int64_t t = 0; t < tokens; ++t) {
                        const std::vector<float> row = product(x.rows_at(t, 1), rows);
                        wanted.insert(wanted.end(), row.begin(), row.end());
                    }
                    const std::string what =
                        fmt::format("{}, {} groups, {} rows, {} tokens", format.describe(), groups, outputs, tokens);
                    EXPECT_EQ(product(x, rows), wanted) << what;
                    EXPECT_EQ(product(x, tiles), wanted) << what;
                }
            }
        }
    }
}

TEST_P(CpuBlocks, RowsAreLookedUpInTiles) {
    for (const WeightFormat& format : block_formats()) {
        if (!backend_->reads_tiles(format)) continue;
        CaseContext context(*backend_, 7);
        const int64_t columns = columns_for(format, 3);
        const Weight rows = context.weight(format, 48, columns), tiles = in_tiles(context, rows);
        const Tensor ids = context.integers({47, 0, 16, 15, 16, 33});
        const auto embedded = [&](const Weight& table) {
            const Tensor out = context.output(ids.rows, columns);
            backend_->run(Embed{.ids = ids, .table = table, .out = out});
            context.result(out);
            return context.results().back();
        };
        EXPECT_EQ(embedded(tiles), embedded(rows)) << format.describe();
    }
}

TEST_P(CpuBlocks, FaultsStayVisible) {
    for (const WeightFormat& format : block_formats()) {
        CaseContext context(*backend_, 1);
        const int64_t columns = columns_for(format, 2);
        std::vector<float> x = context.normals(3 * columns);
        x[static_cast<size_t>(columns + 3)] = NAN;
        const Tensor out = context.output(3, 20);
        context.backend().run(
            Linear{.x = context.filled(x, 3, columns), .weight = context.weight(format, 20, columns), .out = out});
        context.result(out);
        for (size_t i = 0; i < 60; ++i) {
            EXPECT_EQ(std::isnan(context.results()[0][i]), i / 20 == 1) << format.describe() << ", " << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, CpuBlocks, ::testing::ValuesIn(kSets));

}  // namespace
}  // namespace sluice
