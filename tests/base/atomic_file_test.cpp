// What a crash may leave behind depends on the order of the system's calls, so that these are watched: the functions of
// these names here take the place of the C library's.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "sluice/error.h"
#include "tests/support/temporary_folder.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {

std::vector<std::string> calls;

void note(const std::string& call, int descriptor) {
    struct stat status {};
    ::fstat(descriptor, &status);
    calls.push_back(call + (S_ISDIR(status.st_mode) ? " folder" : " file"));
}

}  // namespace

extern "C" {
int fsync(int descriptor) {
    note("fsync", descriptor);
    return static_cast<int>(::syscall(SYS_fsync, descriptor));
}
int rename(const char* from, const char* to) noexcept {
    calls.emplace_back("rename");
    return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
    note("write", descriptor);
    return ::syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}
}
#endif

namespace sluice {
namespace {

namespace fs = std::filesystem;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
using Calls = std::vector<std::string>;

TEST(AtomicFile, WhatHasANewNameIsOnTheDrive) {
    const testing::TemporaryFolder folder;
    calls.clear();
    write_text_file(folder / "a", "text");
    EXPECT_EQ(calls, (Calls{"write file", "fsync file", "rename", "fsync folder"}));
}
#endif

fs::perms mode(const fs::path& path) {
    return fs::status(path).permissions();
}

TEST(AtomicFile, WhoMayReadIsSaidByThePrivacyAndTheUmask) {
    using enum fs::perms;
    const testing::TemporaryFolder folder;
    const mode_t before = ::umask(0);
    write_text_file(folder / "open", "text");
    write_text_file(folder / "private", "text", Privacy::kPrivate);
    ::umask(027);
    write_text_file(folder / "group", "text");
    write_text_file(folder / "private2", "text", Privacy::kPrivate);
    EXPECT_EQ(::umask(before), 027u) << "the process's umask stays as it is";
    EXPECT_EQ(mode(folder / "open"), owner_read | owner_write | group_read | group_write | others_read | others_write);
    EXPECT_EQ(mode(folder / "group"), owner_read | owner_write | group_read);
    EXPECT_EQ(mode(folder / "private"), owner_read | owner_write);
    EXPECT_EQ(mode(folder / "private2"), owner_read | owner_write);
}

TEST(AtomicFile, WhatIsBeingWrittenIsPrivate) {
    const testing::TemporaryFolder folder;
    const AtomicFile file(folder / "a", Privacy::kPrivate);
    for (const auto& entry : fs::directory_iterator(folder.path())) {
        EXPECT_EQ(mode(entry.path()), fs::perms::owner_read | fs::perms::owner_write);
    }
}

TEST(AtomicFile, FoldersForPrivateFilesArePrivate) {
    const testing::TemporaryFolder folder;
    create_private_folders(folder / "a/b/c");
    for (const char* made : {"a", "a/b", "a/b/c"}) EXPECT_EQ(mode(folder / made), fs::perms::owner_all) << made;
    create_private_folders(folder / "a/b/c");
    write_text_file(folder / "file", "");
    EXPECT_THROW(create_private_folders(folder / "file/inner"), Error);
    EXPECT_THROW(create_private_folders(folder / "file"), Error);
}

}  // namespace
}  // namespace sluice
