// Bytes per cached token as docs/architecture.md gives them, against the memory that the process really took.

#include <gtest/gtest.h>
#include <malloc.h>

#include "base/memory.h"
#include "sluice/engine.h"
#include "sluice/option_table.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

uint64_t row_bytes(const std::string& format, uint64_t values) {
    if (format == "f32") return 4 * values;
    if (format == "bf16") return 2 * values;
    return 4 + (values + 3) / 4 * 4;
}

struct Family {
    const char* preset;
    uint64_t layers_with_cache;
    std::vector<uint64_t> rows;  // values of each row that a token has in one layer
};

// Four layers each, with the row sizes of the real models; two key-value heads where they are grouped.
const Family kFamilies[] = {{"qwen3-30b-a3b", 4, {128, 128, 128, 128}},
                            {"qwen3-next-80b-a3b", 1, {256, 256, 256, 256}},
                            {"qwen3.6-35b-a3b", 1, {256, 256, 256, 256}},
                            {"deepseek-v3", 4, {512, 64}},
                            {"kimi-k2", 4, {512, 64}}};

std::vector<TokenId> tokens(size_t count) {
    std::vector<TokenId> ids(count);
    for (size_t i = 0; i < count; ++i) ids[i] = static_cast<TokenId>(i * 7 % 500);
    return ids;
}

// Resident memory of the process while `count` sessions hold the snapshot.
double resident_with(Engine& engine, const std::filesystem::path& snapshot, int count) {
    std::vector<std::unique_ptr<Session>> sessions;
    for (int i = 0; i < count; ++i) {
        sessions.push_back(engine.new_session());
        sessions.back()->load(snapshot);
    }
    ::malloc_trim(0);  // what reading the files left behind in the allocator is no session's memory
    return static_cast<double>(resident_bytes());
}

TEST(StateMemory, PerTokenAsTheFormulaSays) {
    constexpr size_t kShort = 256, kLong = 1024;
    constexpr int kSessions = 12;
    for (const Family& family : kFamilies) {
        const TemporaryFolder folder;
        SynthShape shape = tiny_shape(family.preset, 4);
        change_blocks<LatentAttentionConfig>(shape.config,
                                             [](LatentAttentionConfig& attention) { attention.key_value_rank = 512; });
        synthesize_shape(folder / "model", shape, SynthEncoding::kAffine4, 1);
        for (const char* format : {"f32", "bf16", "int8"}) {
            SCOPED_TRACE(::testing::Message() << family.preset << ' ' << format);
            uint64_t formula = 0;
            for (const uint64_t values : family.rows) formula += family.layers_with_cache * row_bytes(format, values);
            EngineOptions options;
            set_option(options, "kv_format", format);
            options.context = kLong;
            options.ram_bytes = 4ull << 30;
            const auto engine = Engine::open(folder / "model", options);
            EXPECT_EQ(engine->info().kv_bytes_per_token, formula);

            uint64_t counted[2] = {};
            std::filesystem::path snapshots[2];
            for (const size_t i : {0, 1}) {
                const auto session = engine->new_session();
                engine->evaluate(*session, tokens(i == 0 ? kShort : kLong));
                counted[i] = session->state_bytes();
                snapshots[i] = folder / std::to_string(i);
                session->save(snapshots[i]);
                resident_with(*engine, snapshots[i], kSessions);  // the allocator takes what it keeps
            }
            EXPECT_EQ(counted[1] - counted[0], formula * (kLong - kShort));
            const double measured =
                (resident_with(*engine, snapshots[1], kSessions) - resident_with(*engine, snapshots[0], kSessions)) /
                static_cast<double>(kSessions * (kLong - kShort));
            EXPECT_NEAR(measured, static_cast<double>(formula), 0.02 * static_cast<double>(formula));
        }
    }
}

}  // namespace
}  // namespace sluice::testing
