#include "cli/estimate.h"

#include <gtest/gtest.h>

#include "base/machine_speed.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kGigabyte = uint64_t{1} << 30;

ModelReport large_model() {
    ModelReport model;
    model.experts = 256;
    model.experts_per_token = 8;
    model.trunk_bytes = 2 * kGigabyte;
    model.trunk_bytes_per_token = 2 * kGigabyte;
    model.expert_bytes = 16 * kGigabyte;
    model.bytes_per_expert = 2 << 20;
    model.expert_bytes_per_token = kGigabyte / 2;
    model.kv_bytes_per_token = 20 << 10;
    return model;
}

constexpr MachineSpeed kMachine{.memory_bytes_per_s = 40e9, .disk_bytes_per_s = 5e9};

TEST(HitRate, PassesThroughThePublishedPoints) {
    EXPECT_DOUBLE_EQ(expected_hit_rate(256, 0.12), 0.62);
    EXPECT_DOUBLE_EQ(expected_hit_rate(512, 0.36), 0.62);
    EXPECT_DOUBLE_EQ(expected_hit_rate(64, 0.375), 0.68);
}

TEST(HitRate, RisesWithTheCacheAndEndsAtAll) {
    for (const int64_t experts : {8, 64, 128, 256, 512, 2048}) {
        double previous = expected_hit_rate(experts, 0);
        EXPECT_EQ(previous, 0) << experts;
        for (double fraction = 0.01; fraction < 1; fraction += 0.01) {
            const double rate = expected_hit_rate(experts, fraction);
            EXPECT_GE(rate, previous) << experts << " experts at " << fraction;
            previous = rate;
        }
        EXPECT_DOUBLE_EQ(expected_hit_rate(experts, 1), 1) << experts;
    }
}

TEST(DecodeBound, IsTheSlowerOfMemoryAndDrive) {
    const ModelReport model = large_model();
    const TokenBound cached = decode_bound(model, kMachine, 0, 0);
    EXPECT_NEAR(cached.tokens_per_s(), 40e9 / (2.5 * static_cast<double>(kGigabyte)), 1e-6);
    const TokenBound missing = decode_bound(model, kMachine, 1e9, 0);
    EXPECT_NEAR(missing.tokens_per_s(), 5, 1e-9);
}

TEST(DecodeBound, WithoutAMeasurementIsZero) {
    EXPECT_EQ(decode_bound(large_model(), {}, 1e9, 0).tokens_per_s(), 0);
}

TEST(Plan, OfTooLittleMemoryHasNoSpeed) {
    const ModelReport model = large_model();
    EXPECT_EQ(estimate_plan(model, kMachine, {.runs = false}).decode_tokens_per_s, 0);
    EXPECT_GT(estimate_plan(model, kMachine, {.runs = true}).decode_tokens_per_s, 0);
}

TEST(Plan, HitsWithEveryExpertCached) {
    const ModelReport model = large_model();
    const PlanEstimate all = estimate_plan(model, kMachine, {.runs = true, .cache_bytes = model.expert_bytes});
    EXPECT_DOUBLE_EQ(all.cached_fraction, 1);
    EXPECT_DOUBLE_EQ(all.hit_rate, 1);
    // So few that the drive, not memory, bounds a token.
    const PlanEstimate few = estimate_plan(model, kMachine, {.runs = true, .cache_bytes = model.expert_bytes / 100});
    EXPECT_NEAR(few.cached_fraction, 0.01, 1e-6);
    EXPECT_LT(few.decode_tokens_per_s, all.decode_tokens_per_s);
}

TEST(Plan, ACardAndTheMemoryBelowHoldDifferentExperts) {
    const ModelReport model = large_model();
    const uint64_t quarter = model.expert_bytes / 4;
    const PlanEstimate plan =
        estimate_plan(model, kMachine, {.runs = true, .cache_bytes = quarter, .host_bytes = quarter});
    EXPECT_NEAR(plan.cached_fraction, 0.5, 1e-6);
    EXPECT_DOUBLE_EQ(plan.hit_rate, expected_hit_rate(model.experts, plan.cached_fraction));
    EXPECT_NEAR(plan.card_rate, expected_hit_rate(model.experts, 0.25), 1e-6);
    EXPECT_EQ(estimate_plan(model, kMachine, {.runs = true, .cache_bytes = 2 * quarter}).hit_rate, plan.hit_rate);
}

TEST(DiskSpeed, TakesTheFastestRowOfItsKindAndSkipsRefusals) {
    DiskMeasurement cached, direct, refused;
    cached.bytes_per_second = 9e9;
    direct.direct_io = true;
    direct.bytes_per_second = 3e9;
    refused.direct_io = true;
    refused.bytes_per_second = 7e9;
    refused.refused = "Invalid argument";
    const std::vector<DiskMeasurement> rows = {cached, direct, refused};
    EXPECT_EQ(best_disk_speed(rows, true), 3e9);
    EXPECT_EQ(best_disk_speed(rows, false), 9e9);
    EXPECT_EQ(best_disk_speed({}, true), 0);
}

TEST(MachineSpeed, MeasuresSomethingPlausible) {
    ThreadPool pool(2);
    EXPECT_GT(measure_memory_bandwidth(pool), 1e8);
    for (const ArithmeticPeak& peak : {measure_int8_peak(pool), measure_float_peak(pool)}) {
        EXPECT_GT(peak.operations_per_second, 1e7);
        EXPECT_FALSE(peak.instructions.empty());
    }
}

}  // namespace
}  // namespace sluice::cli
