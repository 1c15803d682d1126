#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/backend/op_cases.h"

namespace sluice {

// Rows of a product are the same alone, in pieces of up to `longest_piece` rows and all `tokens` together, whatever the
// weight's format.
inline void expect_linear_rows_the_same(Backend& backend, int64_t tokens, int64_t longest_piece) {
    constexpr int64_t kOutputs = 150;
    for (const WeightFormat& format : all_weight_formats()) {
        CaseContext context(backend, 3);
        const int64_t columns = columns_for(format, 5);
        const Weight weight = context.weight(format, kOutputs, columns);
        const Tensor x = context.random(tokens, columns);
        const Tensor together = context.output(tokens, kOutputs), apart = context.output(tokens, kOutputs);
        backend.run(Linear{.x = x, .weight = weight, .out = together});
        for (int64_t first = 0, count = 1; first < tokens; first += count, count = first % longest_piece + 1) {
            count = std::min(count, tokens - first);
            backend.run(Linear{.x = x.rows_at(first, count), .weight = weight, .out = apart.rows_at(first, count)});
        }
        context.result(together);
        context.result(apart);
        EXPECT_EQ(context.results()[0], context.results()[1]) << format.describe();
    }
}

// Experts give the same whichever of them come in one operation: those whose reads are done.
inline void expect_experts_the_same(Backend& backend) {
    constexpr int64_t kRows = 48;  // tensor cores take so many
    for (const WeightFormat& format : all_weight_formats()) {
        CaseContext context(backend, 5);
        const int64_t hidden = columns_for(format, 2), inner = columns_for(format, 1);
        const Tensor x = context.random(kRows, hidden);
        GatedMlp together{.x = x, .groups = {}, .out = {}};
        int32_t entries = 0;
        for (const int32_t rows : {3, 20, 48, 5}) {
            std::vector<int32_t> wanted(static_cast<size_t>(rows)), places(wanted.size());
            std::iota(wanted.begin(), wanted.end(), 0);
            std::iota(places.begin(), places.end(), entries);
            entries += rows;
            const auto weight = [&](int64_t outputs, int64_t columns) {
                return rows == 20 ? context.weight(format, outputs, columns)
                                  : context.aligned_weight(format, outputs, columns);
            };
            together.groups.push_back({.gate = weight(inner, hidden),
                                       .up = weight(inner, hidden),
                                       .down = weight(hidden, inner),
                                       .rows = context.integers(wanted),
                                       .out_rows = context.integers(places)});
        }
        together.out = context.output(entries, hidden);
        const Tensor apart = context.output(entries, hidden);
        backend.run(together);
        for (const MlpGroup& group : together.groups) backend.run(GatedMlp{.x = x, .groups = {group}, .out = apart});
        context.result(together.out);
        context.result(apart);
        EXPECT_EQ(context.results()[0], context.results()[1]) << format.describe();
    }
}

// A row's experts give it the same whoever else chooses them.
inline void expect_chosen_experts_the_same(Backend& backend, int64_t most_rows) {
    for (int64_t rows = 2; rows <= most_rows; rows *= 2) {
        CaseContext context(backend, 6);
        experts_in_company(context, rows);
        EXPECT_EQ(context.results()[0], context.results()[1]) << rows;
    }
}

// Few new rows of a sequence are the same whoever else is in the batch.
inline void expect_attention_rows_the_same(Backend& backend) {
    for (const KvFormat format : kAllKvFormats) {
        CaseContext context(backend, 4);
        attend_in_company(context, format);
        for (size_t i = 0; i < context.results().size(); i += 2) {
            EXPECT_EQ(context.results()[i], context.results()[i + 1]) << kv_format_name(format);
        }
    }
}

}  // namespace sluice
