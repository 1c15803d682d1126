// How operations of a card's graph wait for each other.

#include <gtest/gtest.h>

#include "backend/backend.h"
#include "backend/cuda/fusion.h"
#include "backend/cuda/lanes.h"

namespace sluice::cuda {
namespace {

constexpr size_t kLanes = 3;

class Lanes : public ::testing::Test {
  protected:
    // A tensor of its own, of eight columns.
    Tensor tensor(int64_t rows = 1) {
        return make_tensor(backend_->allocate(static_cast<uint64_t>(rows) * 32), DType::kF32, rows, 8);
    }
    Linear linear(const Tensor& x, const Tensor& out) {
        const Weight weight{.format = WeightFormat::floating(DType::kF32),
                            .rows = out.columns,
                            .columns = x.columns,
                            .data = {weights_, 0}};
        return {.x = x, .weight = weight, .out = out};
    }
    RmsNorm norm(const Tensor& x, const Tensor& out) { return {.x = x, .weight = factors_, .epsilon = 1, .out = out}; }

    static std::vector<OperationGroup> grouped(std::vector<Operation> operations) {
        return group_operations(std::move(operations), Joining::kProducts);
    }
    std::vector<LanePlace> places(std::vector<Operation> operations) {
        return divide_into_lanes(grouped(std::move(operations)), kLanes);
    }

    std::unique_ptr<Backend> backend_ = make_reference_backend();
    BufferPtr weights_ = backend_->allocate(4096);
    Tensor factors_ = tensor();
};

TEST_F(Lanes, AChainStaysInALaneAndWaitsForNobody) {
    const Tensor a = tensor(), b = tensor(), c = tensor();
    const auto chain = places({norm(a, b), linear(b, c), AddGated{.x = c, .gate = {}, .out = a}});
    ASSERT_EQ(chain.size(), 3u);
    for (const LanePlace& place : chain) {
        EXPECT_EQ(place.lane, chain[0].lane);
        EXPECT_TRUE(place.after.empty());
    }
}

TEST_F(Lanes, WhatIsApartRunsBesideAndIsWaitedForOnce) {
    const Tensor a = tensor(), b = tensor(), c = tensor(), d = tensor();
    const auto fork = places(
        {norm(a, b), norm(c, d), AddGated{.x = b, .gate = {}, .out = d}, AddGated{.x = b, .gate = {}, .out = d}});
    EXPECT_NE(fork[0].lane, fork[1].lane);
    EXPECT_EQ(fork[2].lane, fork[1].lane);
    EXPECT_EQ(fork[2].after, std::vector<size_t>{0});
    EXPECT_TRUE(fork[3].after.empty());
}

TEST_F(Lanes, WhatIsReadIsNotWrittenBefore) {
    const Tensor a = tensor(), b = tensor(), c = tensor(), d = tensor();
    // The third overwrites what the first reads, and has nothing to do with the second.
    const auto reuse = places({norm(a, b), norm(c, d), norm(c, a)});
    EXPECT_EQ(reuse[2].lane, reuse[0].lane);
    EXPECT_TRUE(reuse[2].after.empty());
}

TEST_F(Lanes, PartsOfABufferAreApart) {
    const Tensor rows = tensor(2), x = tensor(), y = tensor();
    const auto parts = places(
        {norm(x, rows.rows_at(0, 1)), norm(y, rows.rows_at(1, 1)), AddGated{.x = rows, .gate = {}, .out = tensor(2)}});
    EXPECT_NE(parts[0].lane, parts[1].lane);
    EXPECT_EQ(parts[2].after.size(), 1u);
}

TEST_F(Lanes, ProductsOfTheSameRowsJoinWhereNothingStandsBetween) {
    const Tensor x = tensor(), a = tensor(), b = tensor(), c = tensor();
    const auto joined = grouped({linear(x, a), norm(factors_, c), linear(x, b)});
    ASSERT_EQ(joined.size(), 2u);
    EXPECT_EQ(joined[0].size(), 2u);
    // The second product writes what the norm has read.
    EXPECT_EQ(grouped({linear(x, a), norm(b, c), linear(x, b)}).size(), 3u);
    // The rows are others by then.
    EXPECT_EQ(grouped({linear(x, a), norm(c, x), linear(x, b)}).size(), 3u);
}

TEST_F(Lanes, WhatIsAddedToASumOfExpertsRightBehindItJoinsIt) {
    const Tensor parts = tensor(2), out = tensor(), shared = tensor();
    const CombineExperts combine{.parts = parts, .weights = {}, .out = out};
    EXPECT_EQ(grouped({combine, AddGated{.x = shared, .gate = {}, .out = out}}).size(), 1u);
    EXPECT_EQ(grouped({combine, AddGated{.x = shared, .gate = {}, .out = tensor()}}).size(), 2u);
    EXPECT_EQ(grouped({combine, norm(out, shared), AddGated{.x = shared, .gate = {}, .out = out}}).size(), 3u);
}

}  // namespace
}  // namespace sluice::cuda
