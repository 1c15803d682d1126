#include "checkpoint/ngram_hash.h"

#include <algorithm>
#include <limits>

namespace sluice {

namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

uint64_t splitmix64(uint64_t z) {
    z += kGolden;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

bool is_prime(int64_t number) {
    if (number < 4) return number >= 2;
    if (number % 2 == 0) return false;
    for (int64_t divisor = 3; divisor * divisor <= number; divisor += 2) {
        if (number % divisor == 0) return false;
    }
    return true;
}

// As int64 tensors of the publisher's code wrap and divide: an end token may lie beyond the vocabulary that multipliers
// were drawn for.
int64_t wrapping_product(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

int64_t floored_remainder(int64_t number, int64_t divisor) {
    const int64_t rest = number % divisor;
    return rest < 0 ? rest + divisor : rest;
}

}  // namespace

std::vector<int64_t> NGramHash::rows(std::span<const int32_t> before, std::span<const int32_t> ids) const {
    std::vector<int64_t> rows;
    rows.reserve(ids.size() * head_rows.size());
    const auto past = static_cast<int64_t>(before.size());
    std::vector<int64_t> mixed(multipliers.size());  // of the n-grams of 1, 2, ... tokens
    for (int64_t t = 0; t < static_cast<int64_t>(ids.size()); ++t) {
        bool over = false;
        for (int64_t back = 0; back < longest(); ++back) {
            const int64_t at = t - back;
            over = over || at < -past;
            int64_t token = end_token;
            if (!over) token = at >= 0 ? ids[static_cast<size_t>(at)] : before[static_cast<size_t>(past + at)];
            if (back > 0) over = over || token == end_token;
            const auto j = static_cast<size_t>(back);
            mixed[j] = (j == 0 ? 0 : mixed[j - 1]) ^ wrapping_product(token, multipliers[j]);
        }
        for (int64_t head = 0; head < heads(); ++head) {
            const auto k = static_cast<size_t>(head);
            const int64_t hash = mixed[static_cast<size_t>(1 + head / heads_per_order)];
            rows.push_back(floored_remainder(hash, head_rows[k]) + head_offsets[k]);
        }
    }
    return rows;
}

std::vector<int64_t> ngram_multipliers(int64_t vocabulary, int64_t longest, uint64_t table, uint64_t seed) {
    const int64_t most = std::numeric_limits<int64_t>::max() / vocabulary;
    const auto half = static_cast<uint64_t>(std::max<int64_t>(1, most / 2));
    std::vector<int64_t> multipliers;
    for (int64_t j = 1; j <= longest; ++j) {
        const uint64_t drawn = splitmix64(seed + 10007 * table + kGolden * static_cast<uint64_t>(j));
        multipliers.push_back(static_cast<int64_t>(2 * (drawn % half) + 1));
    }
    return multipliers;
}

std::vector<int64_t> primes_from(int64_t least, int64_t first, int64_t count) {
    std::vector<int64_t> primes;
    int64_t number = 0;
    for (int64_t candidate = least; number < first + count; ++candidate) {
        if (is_prime(candidate) && number++ >= first) primes.push_back(candidate);
    }
    return primes;
}

std::vector<int64_t> offsets_of(std::span<const int64_t> sizes) {
    std::vector<int64_t> offsets;
    int64_t sum = 0;
    for (const int64_t size : sizes) {
        offsets.push_back(sum);
        sum += size;
    }
    return offsets;
}

}  // namespace sluice
