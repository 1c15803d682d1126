// Caches longer than one tile of MLA's attention: a short sequence in their company is computed in tiles too, and must
// not show it.

#include <gtest/gtest.h>

#include "sluice/engine.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

std::vector<TokenId> tokens(size_t count, size_t step) {
    std::vector<TokenId> ids(count);
    for (size_t i = 0; i < count; ++i) ids[i] = static_cast<TokenId>(i * step % 500);
    return ids;
}

TEST(LongContext, CompanyChangesNoBitWhereTheCacheGoesInTiles) {
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", tiny_shape("deepseek-v3", 4), SynthEncoding::kAffine4, 1);
    for (const bool exact : {true, false}) {
        EngineOptions options;
        options.context = 4400;
        options.exact = exact;
        options.ram_bytes = 4ull << 30;
        const auto engine = Engine::open(folder / "model", options);
        const auto longer = engine->new_session(), shorter = engine->new_session();
        const TokenId next = 11;
        const SequenceInput both[] = {{.session = longer.get(), .tokens = std::span(&next, 1)},
                                      {.session = shorter.get(), .tokens = std::span(&next, 1)}};
        for (const size_t length : {size_t{4095}, size_t{4096}}) {
            longer->truncate(0);
            shorter->truncate(0);
            engine->evaluate(*longer, tokens(length, 7), LogitsWanted::kNone);
            engine->evaluate(*shorter, tokens(10, 13), LogitsWanted::kNone);
            const std::vector<float> long_alone = engine->evaluate(*longer, both[0].tokens).logits,
                                     short_alone = engine->evaluate(*shorter, both[1].tokens).logits;
            longer->truncate(static_cast<int64_t>(length));
            shorter->truncate(10);
            const auto together = engine->evaluate(both);
            EXPECT_EQ(together[0].logits, long_alone) << length << " tokens";
            EXPECT_EQ(together[1].logits, short_alone) << "beside " << length << " tokens";
        }
    }
}

}  // namespace
}  // namespace sluice::testing
