// One folder of evaluated prompts under several processes, processes that are killed, and a disk that is full.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "sluice/engine.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

const std::string kModel = sluice::testing::source_file("/models/stories-hybrid");
constexpr const char* kUnlimited = "1000000000";

pid_t start_user(const fs::path& folder, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {SLUICE_PREFIX_CACHE_USER, kModel, folder.string()});
    const pid_t child = ::fork();
    if (child != 0) return child;
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
}

int exit_status(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct Folder {
    uint64_t bytes = 0;
    std::vector<fs::path> entries, others;

    explicit Folder(const fs::path& path) {
        for (const auto& file : fs::directory_iterator(path)) {
            const bool entry = file.path().extension() == ".safetensors";
            (entry ? entries : others).push_back(file.path());
            if (entry) bytes += file.file_size();
        }
    }
};

void expect_all_load(const Folder& folder) {
    EngineOptions options;
    options.context = 256;
    const auto engine = Engine::open(kModel, options);
    for (const fs::path& entry : folder.entries) {
        const auto session = engine->new_session();
        EXPECT_NO_THROW(session->load(entry)) << entry;
        EXPECT_GT(session->position(), 0);
    }
}

uint64_t one_entry(const fs::path& path) {
    EXPECT_EQ(exit_status(start_user(path, {kUnlimited, "1", "1"})), 0);
    const Folder folder(path);
    return folder.entries.empty() ? 0 : folder.bytes / folder.entries.size();
}

TEST(PrefixFolder, ManyProcessesAtOnceSeeWholeEntriesOrNone) {
    const TemporaryFolder alone, shared;
    // So few that entries are thrown out while others read them.
    const uint64_t limit = 4 * one_entry(alone.path());
    std::vector<pid_t> children;
    for (int seed = 1; seed <= 4; ++seed) {
        children.push_back(start_user(shared.path(), {std::to_string(limit), "25", std::to_string(seed)}));
    }
    for (const pid_t child : children) EXPECT_EQ(exit_status(child), 0);
    const Folder folder(shared.path());
    EXPECT_TRUE(folder.others.empty()) << folder.others.front();
    EXPECT_GE(folder.entries.size(), 2u);
    EXPECT_LE(folder.bytes, limit);
    expect_all_load(folder);
}

TEST(PrefixFolder, KilledWritersLeaveNothingThatLoadsWrong) {
    const TemporaryFolder shared;
    for (int i = 0; i < 10; ++i) {
        const pid_t child = start_user(shared.path(), {kUnlimited, "1000", std::to_string(i)});
        for (int wait = 0; wait < 6000 && fs::is_empty(shared.path()); ++wait) ::usleep(10000);
        ::usleep(static_cast<useconds_t>(150000 + 23000 * i));
        ::kill(child, SIGKILL);
        exit_status(child);
    }
    const Folder folder(shared.path());
    ASSERT_FALSE(folder.entries.empty());
    expect_all_load(folder);
    // What a killed one was writing is swept once it is old; what is new may still be somebody's.
    const fs::path old = shared / "0-1-2.prefix.safetensors.tmp-old123";
    const fs::path young = shared / "0-1-2.prefix.safetensors.tmp-new123";
    for (const fs::path& file : {old, young}) std::ofstream(file) << "half of it";
    fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(1));
    fs::remove(folder.entries.front());
    EXPECT_EQ(exit_status(start_user(shared.path(), {kUnlimited, "40", "1"})), 0);
    EXPECT_FALSE(fs::exists(old));
    EXPECT_TRUE(fs::exists(young));
}

TEST(PrefixFolder, AFullDiskCostsTheEntryNotTheRequest) {
    const TemporaryFolder shared;
    EXPECT_EQ(exit_status(start_user(shared.path(), {kUnlimited, "10", "1", "100000"})), 0);
    const Folder folder(shared.path());
    EXPECT_TRUE(folder.entries.empty());
    EXPECT_TRUE(folder.others.empty());
}

}  // namespace
}  // namespace sluice::testing
