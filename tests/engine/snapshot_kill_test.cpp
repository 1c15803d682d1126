// SIGKILL in the middle of saving, two hundred times: what stands under the name always loads, whole.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "sluice/engine.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::string kModel = sluice::testing::source_file("/tests/data/goldens/qwen3_5-moe-mlx3");

#ifdef SLUICE_CRASH_POINTS
// Starts the writer, which ends at its Nth call that changes a file of the folder.
void write_until_call(const std::filesystem::path& snapshot, int call) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        ::setenv("LD_PRELOAD", SLUICE_CRASH_POINTS, 1);
        ::setenv("SLUICE_CRASH_UNDER", snapshot.parent_path().c_str(), 1);
        ::setenv("SLUICE_CRASH_AT", std::to_string(call).c_str(), 1);
        if (::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(127);
        ::execl(SLUICE_SNAPSHOT_WRITER, SLUICE_SNAPSHOT_WRITER, kModel.c_str(), snapshot.c_str(), nullptr);
        ::_exit(127);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(SnapshotKill, AtEachCallOfWriting) {
    const TemporaryFolder folder;
    const std::filesystem::path snapshot = folder / "session.safetensors";
    EngineOptions options;
    options.context = 2048;
    const auto engine = Engine::open(kModel, options);
    size_t missing = 0;
    for (int call = 1; call <= 60; ++call) {
        write_until_call(snapshot, call);
        if (!std::filesystem::exists(snapshot)) {
            ++missing;
            continue;
        }
        const auto session = engine->new_session();
        ASSERT_NO_THROW(session->load(snapshot)) << "call " << call;
        ASSERT_GE(session->position(), 40);
    }
    EXPECT_GE(missing, 4u) << "until the first one was renamed: opened, written, flushed";
    EXPECT_LE(missing, 40u);
}
#endif

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
