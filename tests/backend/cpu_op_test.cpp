// Every operation of the cpu backend against the reference, with each instruction set that this processor
// has.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "tests/backend/op_cases.h"

namespace sluice {
namespace {

constexpr uint64_t kSeeds = 3;
constexpr double kRounding = 2e-6;  // of float32 sums in another order; 6e-7 is the largest seen

class CpuOperations : public ::testing::TestWithParam<InstructionSet> {
  protected:
    void make_backend(size_t threads, bool exact) {
        try {
            backend_ = make_cpu_backend({.threads = threads, .exact = exact, .instruction_set = GetParam()});
        } catch (const Error& error) {
            ASSERT_EQ(error.code(), ErrorCode::kUnsupported) << error.what();
            GTEST_SKIP() << error.what();
        }
    }

    std::unique_ptr<Backend> reference_ = make_reference_backend();
    std::unique_ptr<Backend> backend_;
};

TEST_P(CpuOperations, ExactEqualsTheReferenceToRounding) {
    make_backend(2, true);
    if (backend_ == nullptr) return;
    for (const OpCase& op_case : all_op_cases()) {
        for (uint64_t seed = 0; seed < kSeeds; ++seed) {
            SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
            const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
            EXPECT_LT(stats.rms_relative, kRounding);
            EXPECT_LT(stats.max_relative, 10 * kRounding);
        }
    }
}

// Int8 activations round each value to 1/254 of the largest of its group: about half a percent of the result
// per product.
TEST_P(CpuOperations, QuantizedActivationsStayWithinTheirRounding) {
    make_backend(2, false);
    if (backend_ == nullptr) return;
    std::map<std::string, ErrorStats> distribution;
    for (const OpCase& op_case : all_op_cases()) {
        ErrorStats& worst = distribution[op_case.name.substr(0, op_case.name.find(','))];
        for (uint64_t seed = 0; seed < kSeeds; ++seed) {
            SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
            const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
            EXPECT_LT(stats.rms_relative, op_case.quantized ? 0.02 : kRounding);
            EXPECT_LT(stats.max_relative, op_case.quantized ? 0.1 : 10 * kRounding);
            worst.max_relative = std::max(worst.max_relative, stats.max_relative);
            worst.rms_relative = std::max(worst.rms_relative, stats.rms_relative);
            if (std::abs(stats.mean) > std::abs(worst.mean)) worst.mean = stats.mean;
        }
    }
    fmt::print("{}, relative to the root mean square of the reference, worst of all formats and seeds:\n",
               backend_->name());
    for (const auto& [name, stats] : distribution) {
        fmt::print("  {:40} max {:.1e}  rms {:.1e}  mean {:+.1e}\n", name, stats.max_relative,
                   stats.rms_relative, stats.mean);
    }
}

TEST_P(CpuOperations, ThreadsChangeNoBit) {
    make_backend(1, false);
    if (backend_ == nullptr) return;
    for (const size_t threads : {2, 5}) {
        const auto other =
            make_cpu_backend({.threads = threads, .exact = false, .instruction_set = GetParam()});
        for (const OpCase& op_case : all_op_cases()) {
            EXPECT_EQ(run_case(op_case, *other, *backend_, 11).max_abs, 0)
                << op_case.name << ", threads " << threads;
        }
    }
}

std::string instruction_set_name(const ::testing::TestParamInfo<InstructionSet>& info) {
    switch (info.param) {
        case InstructionSet::kAuto:
            return "Auto";
        case InstructionSet::kScalar:
            return "Scalar";
        case InstructionSet::kAvx2:
            return "Avx2";
        case InstructionSet::kAvxVnni:
            return "AvxVnni";
        case InstructionSet::kAvx512:
            return "Avx512";
        case InstructionSet::kAvx512Vnni:
            return "Avx512Vnni";
        case InstructionSet::kNeon:
            return "Neon";
    }
    return "Unknown";
}

INSTANTIATE_TEST_SUITE_P(On, CpuOperations,
                         ::testing::Values(InstructionSet::kScalar, InstructionSet::kAvx2,
                                           InstructionSet::kAvxVnni, InstructionSet::kAvx512,
                                           InstructionSet::kAvx512Vnni, InstructionSet::kNeon),
                         instruction_set_name);

}  // namespace
}  // namespace sluice
