// The hash is integer-exact or wrong: held to the published model's numbers and to sums made by hand.

#include "checkpoint/ngram_hash.h"

#include <gtest/gtest.h>

#include <numeric>

namespace sluice {
namespace {

using Numbers = std::vector<int64_t>;

TEST(NGramHash, MultipliersAreThoseOfThePublishedModel) {
    EXPECT_EQ(ngram_multipliers(248320, 3, 0, 1234), (Numbers{23703573157769, 20109073645365, 8052911324071}));
    EXPECT_NE(ngram_multipliers(248320, 3, 1, 1234), ngram_multipliers(248320, 3, 0, 1234));
    EXPECT_NE(ngram_multipliers(248320, 3, 0, 0), ngram_multipliers(248320, 3, 0, 1234));
}

TEST(NGramHash, HeadsOwnThePrimesOfThePublishedModel) {
    const Numbers primes = primes_from(20'000'000, 0, 16);
    EXPECT_EQ(primes.front(), 20'000'003);
    EXPECT_EQ(primes[1], 20'000'023);
    EXPECT_EQ(primes.back(), 20'000'171);
    EXPECT_EQ(std::accumulate(primes.begin(), primes.end(), int64_t{0}), 320'001'446);
    EXPECT_EQ(primes_from(20'000'000, 3, 2), (Numbers{primes[3], primes[4]}));
    EXPECT_EQ(primes_from(0, 0, 5), (Numbers{2, 3, 5, 7, 11}));
    EXPECT_EQ(offsets_of(Numbers{5, 7, 11}), (Numbers{0, 5, 12}));
}

// Two heads for pairs, two for triples.
const NGramHash kHash = {.heads_per_order = 2,
                         .end_token = 9,
                         .multipliers = {3, 5, 7},
                         .head_rows = {11, 13, 17, 19},
                         .head_offsets = {0, 11, 24, 41}};

Numbers rows_of(int64_t newest, int64_t before, int64_t oldest) {
    const int64_t pair = newest * 3 ^ before * 5, triple = pair ^ oldest * 7;
    return {pair % 11, 11 + pair % 13, 24 + triple % 17, 41 + triple % 19};
}

Numbers joined(std::initializer_list<Numbers> all) {
    Numbers sum;
    for (const Numbers& each : all) sum.insert(sum.end(), each.begin(), each.end());
    return sum;
}

TEST(NGramHash, BeforeTheStartAreEndTokens) {
    const std::vector<int32_t> ids = {4, 6, 2};
    EXPECT_EQ(kHash.rows({}, ids), joined({rows_of(4, 9, 9), rows_of(6, 4, 9), rows_of(2, 6, 4)}));
}

TEST(NGramHash, AnEndTokenCutsWhatIsBeforeItButNotItself) {
    const std::vector<int32_t> ids = {4, 6, 9, 2, 1};
    EXPECT_EQ(kHash.rows({}, ids),
              joined({rows_of(4, 9, 9), rows_of(6, 4, 9), rows_of(9, 6, 4), rows_of(2, 9, 9), rows_of(1, 2, 9)}));
}

// Products wrap there, and remainders of negative ones count from below.
TEST(NGramHash, AnEndTokenBeyondTheVocabularyChoosesARowOfTheTable) {
    NGramHash hash = kHash;
    hash.end_token = 3;
    hash.multipliers = {1, INT64_MAX / 2, 3};
    const auto product = static_cast<int64_t>(3 * static_cast<uint64_t>(INT64_MAX / 2));
    ASSERT_LT(int64_t{1} ^ product, 0);
    const int64_t rest = (int64_t{1} ^ product) % 11 + 11;
    const std::vector<int32_t> ids = {1};
    const Numbers rows = hash.rows({}, ids);
    EXPECT_EQ(rows[0], rest % 11);
    for (size_t head = 0; head < rows.size(); ++head) {
        EXPECT_GE(rows[head], hash.head_offsets[head]);
        EXPECT_LT(rows[head], hash.head_offsets[head] + hash.head_rows[head]);
    }
}

TEST(NGramHash, HowTokensAreCutChangesNothing) {
    const std::vector<int32_t> ids = {4, 9, 6, 2, 9, 9, 1, 3};
    const Numbers whole = kHash.rows({}, ids);
    for (size_t cut = 1; cut < ids.size(); ++cut) {
        const std::span<const int32_t> front = std::span(ids).first(cut);
        const std::span<const int32_t> before = front.last(std::min<size_t>(cut, 2));
        EXPECT_EQ(joined({kHash.rows({}, front), kHash.rows(before, std::span(ids).subspan(cut))}), whole) << cut;
    }
}

}  // namespace
}  // namespace sluice
