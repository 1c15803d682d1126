// SIGKILL in the middle of saving, two hundred times: what stands under the name always loads, whole.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "sluice/engine.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

constexpr const char* kModel = SLUICE_SOURCE_DIR "/tests/data/goldens/qwen3_5-moe-mlx3";

// Starts the writer, lets it save for a while, kills it.
void write_and_kill(const std::filesystem::path& snapshot, useconds_t microseconds) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::dup2(pipe_ends[1], STDOUT_FILENO);
        ::execl(SLUICE_SNAPSHOT_WRITER, SLUICE_SNAPSHOT_WRITER, kModel, snapshot.c_str(), nullptr);
        ::_exit(127);
    }
    ::close(pipe_ends[1]);
    char begun = 0;
    ASSERT_EQ(::read(pipe_ends[0], &begun, 1), 1) << "the writer did not begin";
    ::close(pipe_ends[0]);
    ::usleep(microseconds);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status));
}

TEST(SnapshotKill, WhatStandsUnderTheNameAlwaysLoads) {
    const TemporaryFolder folder;
    EngineOptions options;
    options.context = 2048;
    const auto engine = Engine::open(kModel, options);
    std::minstd_rand random(7);
    for (int i = 0; i < 200; ++i) {
        write_and_kill(folder / "session.safetensors", static_cast<useconds_t>(random() % 20000));
        const auto session = engine->new_session();
        ASSERT_NO_THROW(session->load(folder / "session.safetensors")) << "kill " << i;
        ASSERT_GE(session->position(), 40);
    }
}

// Bytes per cached token as docs/architecture.md gives them, against the memory that was really taken.
TEST(StateMemory, PerTokenAsTheFormulaSays) {
    struct Case {
        const char* model;
        const char* kv_format;
        uint64_t bytes_per_token;
    };
    // qwen3-moe: 3 layers, 2 kv heads of 32. kimi-like: 3 layers, latent 64 and rotary key 16.
    const Case cases[] = {
        {"qwen3-moe-mlx4", "f32", 3 * 2 * 2 * 32 * 4}, {"qwen3-moe-mlx4", "bf16", 3 * 2 * 2 * 32 * 2},
        {"qwen3-moe-mlx4", "int8", 3 * 2 * 2 * 36},    {"kimi-like-mlx4-split", "f32", 3 * 80 * 4},
        {"kimi-like-mlx4-split", "bf16", 3 * 80 * 2},  {"kimi-like-mlx4-split", "int8", 3 * (68 + 20)}};
    for (const Case& c : cases) {
        EngineOptions options;
        options.kv_format = c.kv_format;
        const auto engine =
            Engine::open(std::filesystem::path(SLUICE_SOURCE_DIR "/tests/data/goldens") / c.model, options);
        const auto session = engine->new_session();
        constexpr size_t kTokens = 1024;  // whole pages
        engine->evaluate(*session, std::vector<TokenId>(kTokens, 9));
        EXPECT_EQ(engine->info().kv_bytes_per_token, c.bytes_per_token) << c.model << ' ' << c.kv_format;
        EXPECT_NEAR(static_cast<double>(session->state_bytes()) / kTokens,
                    static_cast<double>(c.bytes_per_token), 0.02 * static_cast<double>(c.bytes_per_token));
    }
}

}  // namespace
}  // namespace sluice::testing
