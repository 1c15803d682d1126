// Every operation of the CUDA backend against the reference. Without a card there is nothing to test.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cuda_backend.h"
#include "base/error.h"
#include "sluice/cards.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/row_company.h"

namespace sluice {
namespace {

constexpr uint64_t kSeeds = 12;     // numbers of rows on either side of what tensor cores take
constexpr double kRounding = 4e-6;  // of float32 sums in another order

// What a case is of: its name up to a comma.
std::string operation_of(const OpCase& op_case) {
    return op_case.name.substr(0, op_case.name.find(','));
}

std::vector<std::string> all_operations() {
    std::vector<std::string> operations;
    for (const OpCase& op_case : all_op_cases()) operations.push_back(operation_of(op_case));
    std::ranges::sort(operations);
    const auto [first, last] = std::ranges::unique(operations);
    operations.erase(first, last);
    return operations;
}

std::string name_of(const std::string& operation, bool exact) {
    std::string name;
    for (const char letter : operation) name += std::isalnum(static_cast<unsigned char>(letter)) ? letter : '_';
    return name + (exact ? "_Exact" : "_Default");
}

std::unique_ptr<Backend> backend_of_mode(bool exact) {
    return make_cuda_backend({.device = 0, .exact = exact});
}

// [operation, exact]: many tests, so that some machine's slow tools may share them out.
class CudaOperation : public ::testing::TestWithParam<std::tuple<std::string, bool>> {
  protected:
    void SetUp() override {
        if (cards().empty()) GTEST_SKIP() << "no CUDA card, or built without CUDA";
        backend_ = backend_of_mode(exact());
    }
    static bool exact() { return std::get<bool>(GetParam()); }
    static std::vector<OpCase> cases() {
        std::vector<OpCase> cases = all_op_cases();
        std::erase_if(
            cases, [&](const OpCase& op_case) { return operation_of(op_case) != std::get<std::string>(GetParam()); });
        return cases;
    }
    // BF16 moves a value by at most 2^-9 of it; no operation rounds more than four operands. Products round unless
    // asked not to, of any format; so does the delta rule in chunks, to TF32.
    double tolerance(const OpCase& op_case) const {
        const bool product = op_case.name.starts_with("Linear, ") || op_case.name.starts_with("GatedMlp") ||
                             op_case.name.starts_with("LatentAttention") || op_case.name.starts_with("GatedDeltaRule");
        return exact() || (op_case.rounding == Rounding::kNone && !product) ? kRounding : 4.0 / 512;
    }

    std::unique_ptr<Backend> reference_ = make_reference_backend();
    std::unique_ptr<Backend> backend_;
};

TEST_P(CudaOperation, EqualsTheReferenceToRounding) {
    ErrorStats worst;
    for (const OpCase& op_case : cases()) {
        for (uint64_t seed = 0; seed < kSeeds; ++seed) {
            SCOPED_TRACE(fmt::format("{}, seed {}", op_case.name, seed));
            const ErrorStats stats = run_case(op_case, *backend_, *reference_, seed);
            EXPECT_LT(stats.rms_relative, tolerance(op_case));
            EXPECT_LT(stats.max_relative, 10 * tolerance(op_case));
            worst.add(stats);
        }
    }
    fmt::print("  max {:.1e}  rms {:.1e}\n", worst.max_relative, worst.rms_relative);
}

TEST_P(CudaOperation, IsTheSameFromRunToRun) {
    const auto other = backend_of_mode(exact());
    for (const OpCase& op_case : cases()) {
        EXPECT_EQ(run_case(op_case, *other, *backend_, 11).max_abs, 0) << op_case.name;
    }
}

INSTANTIATE_TEST_SUITE_P(On, CudaOperation,
                         ::testing::Combine(::testing::ValuesIn(all_operations()), ::testing::Bool()),
                         [](const auto& of) {
                             return name_of(std::get<std::string>(of.param), std::get<bool>(of.param));
                         });

class CudaRows : public ::testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        if (cards().empty()) GTEST_SKIP() << "no CUDA card, or built without CUDA";
        backend_ = backend_of_mode(GetParam());
    }
    std::unique_ptr<Backend> backend_;
};

TEST_P(CudaRows, OfProductsAreTheSameInAnyCompany) {
    expect_linear_rows_the_same(*backend_, 64, 23);  // with more rows the default mode takes tensor cores
}

TEST_P(CudaRows, OfAttentionAreTheSameInAnyCompany) {
    expect_attention_rows_the_same(*backend_);
}

TEST_P(CudaRows, OfExpertsAreTheSameInAnyCompany) {
    expect_experts_the_same(*backend_);
    expect_chosen_experts_the_same(*backend_, 64);
}

TEST_P(CudaRows, OfStepsAreTheSameRecordedAndOneByOne) {
    const auto expect_the_same = [&](const std::vector<OpCase>& recorded, const std::vector<OpCase>& one_by_one) {
        for (size_t i = 0; i < recorded.size(); ++i) {
            for (uint64_t seed = 0; seed < 3 * kSeeds; ++seed) {
                CaseContext once(*backend_, seed), after(*backend_, seed);
                recorded[i].compute(once);
                one_by_one[i].compute(after);
                EXPECT_EQ(once.results(), after.results()) << recorded[i].name << ", seed " << seed;
            }
        }
    };
    expect_the_same(step_cases(true), step_cases(false));
    expect_the_same(rounded_step_cases(true), rounded_step_cases(false));
}

INSTANTIATE_TEST_SUITE_P(On, CudaRows, ::testing::Bool(),
                         [](const auto& mode) { return mode.param ? "Exact" : "Default"; });

TEST(CudaBackend, AMissingCardIsOneLine) {
    try {
        make_cuda_backend({.device = 999});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("cuda"));
        EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("\n")));
    }
}

TEST(CudaBackend, ABufferOfAnotherBackendIsRefused) {
    if (cards().empty()) GTEST_SKIP() << "no CUDA card, or built without CUDA";
    const auto backend = make_cuda_backend({});
    const auto reference = make_reference_backend();
    const Tensor theirs = make_tensor(reference->allocate(64), DType::kF32, 4, 4);
    const Tensor weight = make_tensor(backend->allocate(16), DType::kF32, 1, 4);
    backend->run(RmsNorm{.x = theirs, .weight = weight, .epsilon = 1, .out = theirs});
    EXPECT_THROW(backend->wait(), Error);
    backend->wait();  // told once
}

}  // namespace
}  // namespace sluice
