#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice {

// Which rows of a table the last tokens choose. In head k, whose order is 2 + k / heads_per_order, that is (t_0 m_0 ^
// t_1 m_1 ^ ...) % head_rows[k] + head_offsets[k], over as many tokens as the order says: t_0 is the token, t_j the one
// j before it. From the first end token on, t_0 apart, and before the start of the text all are end tokens.
struct NGramHash {
    int64_t heads_per_order = 0;
    int64_t end_token = 0;
    std::vector<int64_t> multipliers;  // of t_0, t_1, ...: as many as the longest n-gram has tokens
    std::vector<int64_t> head_rows, head_offsets;

    int64_t longest() const { return static_cast<int64_t>(multipliers.size()); }
    int64_t heads() const { return static_cast<int64_t>(head_rows.size()); }

    // [ids, heads]; `before` are the tokens in front of them, longest() - 1 of them unless there are no more.
    std::vector<int64_t> rows(std::span<const int32_t> before, std::span<const int32_t> ids) const;

    bool operator==(const NGramHash&) const = default;
};

// Those of table number `table` of a model, as publishers derive them.
std::vector<int64_t> ngram_multipliers(int64_t vocabulary, int64_t longest, uint64_t table, uint64_t seed);

// Prime numbers first, first + 1, ... of those from `least` on.
std::vector<int64_t> primes_from(int64_t least, int64_t first, int64_t count);

// The sums of all before each.
std::vector<int64_t> offsets_of(std::span<const int64_t> sizes);

}  // namespace sluice
