// Every operation of the cpu backend against the reference, with each instruction set that this processor has.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "backend/cpu/cpu_features.h"
#include "base/error.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/row_company.h"

namespace sluice {
namespace {

constexpr uint64_t kSeeds = 3;
constexpr double kRounding = 2e-6;  // of float32 sums in another order; 6e-7 is the largest seen

// Errors of every operation, and of Linear with every format of weights: printed so that the tables of docs/kernels.md
// can be made from a run.
class ErrorTable {
  public:
    void add(const std::string& name, const ErrorStats& stats) {
        const bool by_format = name.starts_with("Linear, ");
        rows_[by_format ? name : name.substr(0, name.find(','))].add(stats);
    }
    void print(const std::string& title) const {
        fmt::print("{}, relative to the root mean square of the reference, worst of all seeds and shapes:\n", title);
        for (const auto& [name, stats] : rows_) {
            if (stats.max_abs == 0) continue;  // moves numbers, computes none
            fmt::print("  {:44} mean {:.1e}  max {:.1e}  rms {:.1e}  bias {:+.1e}\n", name, stats.mean_abs,
                       stats.max_relative, stats.rms_relative, stats.mean);
        }
    }

  private:
    std::map<std::string, ErrorStats> rows_;
};

std::vector<OpCase> cpu_cases() {
    std::vector<OpCase> cases = all_op_cases();
    for (OpCase& form : latent_form_cases()) cases.push_back(std::move(form));
    return cases;
}

// Of errors, in the root mean square of the reference.
struct Bounds {
    double rms = 0, worst = 0;
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

    // Every case against the reference; `bounds` says what one may be off.
    void compare_all(const std::function<Bounds(const OpCase&)>& bounds) {
        ErrorTable table;
        for (const OpCase& op_case : cpu_cases()) {
            for (uint64_t seed = 0; seed < kSeeds; ++seed) {
                SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
                const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
                EXPECT_LT(stats.rms_relative, bounds(op_case).rms);
                EXPECT_LT(stats.max_relative, bounds(op_case).worst);
                table.add(op_case.name, stats);
            }
        }
        table.print(backend_->name());
    }

    std::unique_ptr<Backend> reference_ = make_reference_backend();
    std::unique_ptr<Backend> backend_;
};

TEST_P(CpuOperations, ExactEqualsTheReferenceToRounding) {
    make_backend(2, true);
    if (backend_ == nullptr) return;
    compare_all([](const OpCase&) { return Bounds{.rms = kRounding, .worst = 10 * kRounding}; });
}

// Root mean square errors. BF16 moves a value by at most 2^-9 of it, and no operation rounds more than four operands:
// query, key, probability and value. Int8 moves it by at most 1/254 of the largest of its group: about half a percent
// of the result per product.
double expected_error(Rounding rounding) {
    switch (rounding) {
        case Rounding::kBf16:
            return 4.0 / 512;
        case Rounding::kInt8:
            return 0.02;
        default:
            return kRounding;
    }
}

Rounding rounding_with(InstructionSet set, const OpCase& op_case) {
    if (op_case.rounding != Rounding::kBf16OrInt8) return op_case.rounding;
    return select_kernels(set).bf16 != nullptr ? Rounding::kBf16 : Rounding::kInt8;
}

// The worst of many errors over their root mean square. Of sums it is that of a normal distribution. A gated MLP
// multiplies two rounded sums and rounds the product: tails are longer, by the more the more columns a block has.
double worst_in_rms(const OpCase& op_case, Rounding rounding) {
    if (rounding != Rounding::kInt8) return 10;
    return op_case.name.starts_with("GatedMlp") ? 8 : 5;
}

TEST_P(CpuOperations, RoundedActivationsStayWithinTheirRounding) {
    make_backend(2, false);
    if (backend_ == nullptr) return;
    compare_all([](const OpCase& op_case) {
        const Rounding rounding = rounding_with(GetParam(), op_case);
        const double expected = expected_error(rounding);
        return Bounds{.rms = expected, .worst = worst_in_rms(op_case, rounding) * expected};
    });
}

TEST_P(CpuOperations, ThreadsChangeNoBit) {
    make_backend(1, false);
    if (backend_ == nullptr) return;
    for (const size_t threads : {2, 5}) {
        const auto other = make_cpu_backend({.threads = threads, .exact = false, .instruction_set = GetParam()});
        for (const OpCase& op_case : cpu_cases()) {
            EXPECT_EQ(run_case(op_case, *other, *backend_, 11).max_abs, 0) << op_case.name << ", threads " << threads;
        }
    }
}

TEST_P(CpuOperations, LinearRowsAreTheSameInAnyCompany) {
    make_backend(3, false);
    if (backend_ == nullptr) return;
    expect_linear_rows_the_same(*backend_, 300, 23);
}

TEST_P(CpuOperations, AttentionOfFewRowsIsTheSameInAnyCompany) {
    make_backend(3, false);
    if (backend_ == nullptr) return;
    expect_attention_rows_the_same(*backend_);
}

TEST_P(CpuOperations, ExpertRowsAreTheSameAlone) {
    make_backend(3, false);
    if (backend_ == nullptr) return;
    constexpr int32_t kTokens = 20;
    for (const WeightFormat& format : all_weight_formats()) {
        CaseContext context(*backend_, 4);
        const int64_t hidden = columns_for(format, 3), inner = columns_for(format, 5);
        MlpGroup group{.gate = context.weight(format, inner, hidden),
                       .up = context.weight(format, inner, hidden),
                       .down = context.weight(format, hidden, inner)};
        const Tensor x = context.random(kTokens, hidden);
        const Tensor together = context.output(kTokens, hidden), alone = context.output(kTokens, hidden);
        for (int32_t t = 0; t < kTokens; ++t) {
            group.rows = group.out_rows = context.integers({t});
            backend_->run(GatedMlp{.x = x, .groups = {group}, .out = alone});
        }
        group.rows = group.out_rows = {};
        backend_->run(GatedMlp{.x = x, .groups = {group}, .out = together});
        context.result(together);
        context.result(alone);
        EXPECT_EQ(context.results()[0], context.results()[1]) << format.describe();
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
        case InstructionSet::kAvx512WithVnni:
            return "Avx512WithVnni";
        case InstructionSet::kAvx512WithVbmi:
            return "Avx512WithVbmi";
        case InstructionSet::kAmx:
            return "Amx";
        case InstructionSet::kNeon:
            return "Neon";
    }
    return "Unknown";
}

INSTANTIATE_TEST_SUITE_P(On, CpuOperations,
                         ::testing::Values(InstructionSet::kScalar, InstructionSet::kAvx2, InstructionSet::kAvxVnni,
                                           InstructionSet::kAvx512, InstructionSet::kAvx512WithVnni,
                                           InstructionSet::kAvx512WithVbmi, InstructionSet::kAmx,
                                           InstructionSet::kNeon),
                         instruction_set_name);

}  // namespace
}  // namespace sluice
