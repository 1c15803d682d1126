// SIGKILL in the middle of saving, two hundred times: what stands under the name always loads, whole.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "sluice/engine.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::string kModel = sluice::testing::source_file("/tests/data/goldens/qwen3_5-moe-mlx3");

// Starts the writer, lets it save for a while, kills it.
void write_and_kill(const std::filesystem::path& snapshot, useconds_t microseconds) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::dup2(pipe_ends[1], STDOUT_FILENO);
        ::execl(SLUICE_SNAPSHOT_WRITER, SLUICE_SNAPSHOT_WRITER, kModel.c_str(), snapshot.c_str(), nullptr);
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

}  // namespace
}  // namespace sluice::testing
