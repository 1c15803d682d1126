#pragma once

// Drawing a token from the logits of a row.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// How the token of a row is drawn; as it comes, the likeliest. A column weighs exp((x - largest) / temperature), in
// whole 2^-40ths. Columns stand the largest x first, of equals the first column; kept are the first `top_k` (0: all),
// of them as many as make `top_p` of what these weigh together, of them those that weigh at least `min_p`, and one at
// least. The token is the one at which the running sum first exceeds `uniform` of the sum. Where neither top_k nor
// top_p cuts, the sum runs by columns.
struct DrawSettings {
    double temperature = 1, top_p = 1, min_p = 0;
    double uniform = 0;  // from 0 on, less than 1
    int64_t top_k = 1;

    bool by_columns() const { return top_k == 0 && top_p >= 1; }
};
static_assert(std::is_trivially_copyable_v<DrawSettings> && sizeof(DrawSettings) % sizeof(int32_t) == 0);

// A row of `settings`.
constexpr int64_t kDrawColumns = sizeof(DrawSettings) / sizeof(int32_t);
using DrawRow = std::array<int32_t, kDrawColumns>;
inline void append_row(std::vector<int32_t>& rows, const DrawSettings& settings) {
    const auto row = std::bit_cast<DrawRow>(settings);
    rows.insert(rows.end(), row.begin(), row.end());
}
inline DrawSettings draw_settings(const int32_t* row) {
    DrawRow words;
    std::copy_n(row, kDrawColumns, words.begin());
    return std::bit_cast<DrawSettings>(words);
}

// out[t] = the column of x[t] that is drawn as row t of `settings` says; -1 where one of its numbers is not finite.
struct DrawToken {
    static constexpr const char* kName = "DrawToken";
    Tensor x;         // [T, n]
    Tensor settings;  // I32 [T, kDrawColumns]: DrawSettings
    Tensor out;       // I32 [T, 1]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("settings", op.settings, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
