#include "cli/bench_prompt.h"

#include <random>
#include <string>

namespace sluice::cli {

namespace {

constexpr const char* kText =
    "The harbour lay still in the early light, and the first boats were coming home. An old woman stood at "
    "the end of the "
    "pier and counted them as she had done every morning for forty years: the blue one with the patched "
    "sail, the two "
    "brothers who never spoke to each other, the long grey boat that smelled of tar. Today one was missing. "
    "She waited "
    "until the sun had cleared the roofs, then she walked to the lighthouse and knocked. \"Nobody saw her "
    "leave,\" said "
    "the keeper, \"and nobody saw her anchor either. But look at the water.\" Out where the bay meets the "
    "sea, a line of "
    "white birds was turning above something dark. They took the small rowing boat, although the keeper's "
    "back was bad, "
    "and pulled against the tide for an hour. What they found was not a wreck but a whale, asleep, with the "
    "little "
    "fishing boat resting against its side as if both had agreed to wait for the wind. ";

}  // namespace

std::vector<TokenId> bench_prompt(const Engine& engine, size_t count) {
    std::vector<TokenId> ids;
    if (engine.tokenizer() != nullptr) {
        const std::vector<TokenId> once = engine.tokenizer()->encode(kText);
        while (!once.empty() && ids.size() < count) ids.insert(ids.end(), once.begin(), once.end());
    }
    std::mt19937_64 random(1);
    while (ids.size() < count) {
        ids.push_back(static_cast<TokenId>(random() % static_cast<uint64_t>(engine.info().vocabulary)));
    }
    ids.resize(count);
    return ids;
}

}  // namespace sluice::cli
