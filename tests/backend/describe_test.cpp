// Operations print every field, and profiles file them under their names.

#include "backend/describe.h"

#include <gtest/gtest.h>

#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

TEST(Describe, EveryFieldAndWhereItLies) {
    const auto backend = make_reference_backend();
    const Tensor wide = zeros(*backend, 2, 12);
    const Linear op{.x = wide.columns_at(0, 4),
                    .weight = weight_of(*backend, 3, 4, std::vector<float>(12)),
                    .out = wide.columns_at(8, 3),
                    .accumulate = true};
    OperationPrinter printer;
    const std::string text = printer.describe(op);
    EXPECT_EQ(text,
              "Linear(x: F32 [2, 4] at #0+0 by 12, weight: F32 [3, 4] at #1+0, bias: F32 [0, 0] at nothing+0 by 0, "
              "out: F32 [2, 3] at #0+32 by 12, accumulate: true, full_precision: false)");
    EXPECT_EQ(printer.describe(op), text);

    Linear elsewhere = op;
    elsewhere.x = zeros(*backend, 2, 4);
    EXPECT_NE(printer.describe(elsewhere), text);
    EXPECT_NE(printer.describe(elsewhere).find("x: F32 [2, 4] at #2+0"), std::string::npos);
}

TEST(Describe, StructsInside) {
    const auto backend = make_reference_backend();
    const CausalConvolution op{.x = zeros(*backend, 2, 3),
                               .weight = zeros(*backend, 3, 4),
                               .sequences = sequences_of(*backend, {{.first_row = 0, .count = 2, .position = 7}}),
                               .states = states_of(*backend, {std::vector<float>(9)}, 3, 3),
                               .out = zeros(*backend, 2, 3)};
    const std::string text = OperationPrinter().describe(op);
    EXPECT_NE(text.find("sequences: (rows: I32 [1, 3] at #2+0 by 3, most_rows: 2, most_tokens: 9), states: (pool: #3"),
              std::string::npos)
        << text;
    EXPECT_NE(OperationPrinter().describe(AddGated{}).find("gate: F32 [0, 0] at nothing"), std::string::npos);
}

TEST(Describe, LabelsOfProfiles) {
    Linear linear;
    linear.weight.rows = 3;
    linear.weight.columns = 4;
    EXPECT_EQ(operation_label(linear), "Linear 3 x 4");
    EXPECT_EQ(operation_label(RmsNorm{}), "RmsNorm");
}

}  // namespace
}  // namespace sluice
