// Every operation of the cpu backend against the reference, with each instruction set that this processor
// has.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "tests/backend/op_cases.h"

namespace sluice {
namespace {

constexpr uint64_t kSeeds = 3;
constexpr double kRounding = 2e-6;  // of float32 sums in another order; 6e-7 is the largest seen

// Errors of every operation, and of Linear with every format of weights: printed so that the tables of
// docs/kernels.md can be made from a run.
class ErrorTable {
  public:
    void add(const std::string& name, const ErrorStats& stats) {
        const bool by_format = name.starts_with("Linear, ");
        rows_[by_format ? name : name.substr(0, name.find(','))].add(stats);
    }
    void print(const std::string& title) const {
        fmt::print("{}, relative to the root mean square of the reference, worst of all seeds and shapes:\n",
                   title);
        for (const auto& [name, stats] : rows_) {
            if (stats.max_abs == 0) continue;  // moves numbers, computes none
            fmt::print("  {:44} mean {:.1e}  max {:.1e}  rms {:.1e}  bias {:+.1e}\n", name, stats.mean_abs,
                       stats.max_relative, stats.rms_relative, stats.mean);
        }
    }

  private:
    std::map<std::string, ErrorStats> rows_;
};

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
    ErrorTable table;
    for (const OpCase& op_case : all_op_cases()) {
        for (uint64_t seed = 0; seed < kSeeds; ++seed) {
            SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
            const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
            EXPECT_LT(stats.rms_relative, kRounding);
            EXPECT_LT(stats.max_relative, 10 * kRounding);
            table.add(op_case.name, stats);
        }
    }
    table.print(backend_->name());
}

// Int8 activations round each value to 1/254 of the largest of its group: about half a percent of the result
// per product.
TEST_P(CpuOperations, QuantizedActivationsStayWithinTheirRounding) {
    make_backend(2, false);
    if (backend_ == nullptr) return;
    ErrorTable table;
    for (const OpCase& op_case : all_op_cases()) {
        for (uint64_t seed = 0; seed < kSeeds; ++seed) {
            SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
            const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
            EXPECT_LT(stats.rms_relative, op_case.quantized ? 0.02 : kRounding);
            EXPECT_LT(stats.max_relative, op_case.quantized ? 0.1 : 10 * kRounding);
            table.add(op_case.name, stats);
        }
    }
    table.print(backend_->name());
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
