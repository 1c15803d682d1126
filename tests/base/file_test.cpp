#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/memory.h"
#include "sluice/error.h"
#include "tests/support/temporary_folder.h"

namespace sluice {
namespace {

using testing::TemporaryFolder;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text));
}

// The code and message of what `action` throws.
template <typename Action>
std::pair<ErrorCode, std::string> error_of(Action action) {
    try {
        action();
    } catch (const Error& error) {
        return {error.code(), error.what()};
    }
    ADD_FAILURE() << "nothing was thrown";
    return {};
}

size_t entries(const TemporaryFolder& folder) {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

TEST(File, ReadsByPosition) {
    const TemporaryFolder folder;
    write_text_file(folder / "a", "0123456789");
    const File file = File::open(folder / "a");
    EXPECT_EQ(file.size(), 10u);
    std::string part(4, ' ');
    file.read_at(3, std::as_writable_bytes(std::span(part)));
    EXPECT_EQ(part, "3456");
}

TEST(File, NamesWhatIsMissing) {
    const TemporaryFolder folder;
    const auto [code, message] = error_of([&] { File::open(folder / "absent"); });
    EXPECT_EQ(code, ErrorCode::kNotFound);
    EXPECT_NE(message.find("absent"), std::string::npos);
    EXPECT_EQ(error_of([&] { read_text_file(folder / "absent"); }).first, ErrorCode::kNotFound);
}

TEST(File, AFifoIsRefusedWithoutWaitingForAWriter) {
    const TemporaryFolder folder;
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    ::alarm(20);
    const auto [code, message] = error_of([&] { File::open(folder / "pipe"); });
    ::alarm(0);
    EXPECT_EQ(code, ErrorCode::kInvalidFile);
    EXPECT_NE(message.find("not a regular file"), std::string::npos);
}

TEST(File, TheLimitOfOpenFilesIsRaisedOrNamed) {
    const TemporaryFolder folder;
    write_text_file(folder / "a", "x");
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    if (before.rlim_max < 128) GTEST_SKIP() << "the hard limit is low";
    const pid_t child = ::fork();
    if (child == 0) {
        rlimit limit{32, 128};
        ::setrlimit(RLIMIT_NOFILE, &limit);
        std::vector<File> files;
        try {
            while (true) files.push_back(File::open(folder / "a"));
        } catch (const Error& error) {
            const bool named = std::string(error.what()).find("ulimit -n") != std::string::npos;
            ::_exit(named && files.size() > 64 ? 0 : 1);
        }
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST(File, ReadingPastTheEndIsAnError) {
    const TemporaryFolder folder;
    write_text_file(folder / "short", "abc");
    const File file = File::open(folder / "short");
    std::vector<std::byte> out(8);
    const auto [code, message] = error_of([&] { file.read_at(1, out); });
    EXPECT_EQ(code, ErrorCode::kIo);
    EXPECT_NE(message.find("short"), std::string::npos);
}

TEST(MappedFile, StaysValidWithoutTheFile) {
    const TemporaryFolder folder;
    write_text_file(folder / "m", "mapped");
    const auto mapped = MappedFile::open(folder / "m");
    std::filesystem::remove(folder / "m");
    EXPECT_EQ(std::memcmp(mapped->bytes().data(), "mapped", 6), 0);
    EXPECT_EQ(mapped->bytes().size(), 6u);
}

TEST(MappedFile, ReadsZerosWhereItWasCutAndSaysSo) {
    const TemporaryFolder folder;
    const std::string text(3 * kPageBytes, 'x');
    write_text_file(folder / "m", text);
    const auto mapped = MappedFile::open(folder / "m");
    const auto other = MappedFile::open(folder / "m");
    const auto last = [](const MappedFile& file) { return static_cast<char>(file.bytes().back()); };
    EXPECT_EQ(last(*mapped), 'x');
    EXPECT_NO_THROW(mapped->check_intact());
    std::filesystem::resize_file(folder / "m", kPageBytes);
    EXPECT_EQ(last(*mapped), 0);
    EXPECT_EQ(static_cast<char>(mapped->bytes().front()), 'x');
    for (int i = 0; i < 2; ++i) {
        const auto [code, message] = error_of([&] { mapped->check_intact(); });
        EXPECT_EQ(code, ErrorCode::kIo);
        EXPECT_NE(message.find((folder / "m").string()), std::string::npos) << message;
        EXPECT_NE(message.find("4096"), std::string::npos) << message;
    }
    std::filesystem::resize_file(folder / "m", text.size());
    EXPECT_NO_THROW(mapped->check_intact());
    EXPECT_NO_THROW(other->check_intact()) << "nobody read it meanwhile";
}

TEST(MappedFile, ThatIsWholeAgainStillTellsWhoReadItBefore) {
    const TemporaryFolder folder;
    const std::string text(2 * kPageBytes, 'x');
    write_text_file(folder / "m", text);
    const auto mapped = MappedFile::open(folder / "m");
    std::filesystem::resize_file(folder / "m", 0);
    EXPECT_EQ(static_cast<char>(mapped->bytes()[kPageBytes]), 0);
    std::filesystem::resize_file(folder / "m", text.size());
    EXPECT_EQ(error_of([&] { mapped->check_intact(); }).first, ErrorCode::kIo);
    EXPECT_NO_THROW(mapped->check_intact());
}

// What is no mapping of ours ends the process as it would have.
TEST(MappedFileDeathTest, LeavesOtherBusErrorsAlone) {
    const TemporaryFolder folder;
    write_text_file(folder / "m", "x");
    const auto mapped = MappedFile::open(folder / "m");
    EXPECT_DEATH(::raise(SIGBUS), "");
    const File file = File::open(folder / "m");
    void* const beyond = ::mmap(nullptr, 2 * kPageBytes, PROT_READ, MAP_SHARED, file.descriptor(), 0);
    ASSERT_NE(beyond, MAP_FAILED);
    EXPECT_DEATH(std::printf("%d", static_cast<volatile char*>(beyond)[kPageBytes]), "");
    ::munmap(beyond, 2 * kPageBytes);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
    const TemporaryFolder folder;
    {
        AtomicFile file(folder / "whole");
        file.append(bytes_of("first "));
        file.append(bytes_of("second"));
        file.write_at(0, bytes_of("F"));
        EXPECT_EQ(file.position(), 12u);
        EXPECT_FALSE(std::filesystem::exists(folder / "whole"));
        file.commit();
    }
    EXPECT_EQ(read_text_file(folder / "whole"), "First second");
    EXPECT_EQ(entries(folder), 1u);
}

TEST(AtomicFile, LeavesNothingBehindWhenDropped) {
    const TemporaryFolder folder;
    write_text_file(folder / "kept", "old");
    {
        AtomicFile file(folder / "kept");
        file.append(bytes_of("new"));
    }
    EXPECT_EQ(read_text_file(folder / "kept"), "old");
    EXPECT_EQ(entries(folder), 1u);
}

TEST(AtomicFile, NamesAFolderThatIsNotThere) {
    const TemporaryFolder folder;
    const auto [code, message] = error_of([&] { AtomicFile file(folder / "no" / "file"); });
    EXPECT_NE(message.find("no/file"), std::string::npos);
}

TEST(TextFile, RefusesWhatIsLargerThanTheLimit) {
    const TemporaryFolder folder;
    write_text_file(folder / "big", std::string(100, 'x'));
    EXPECT_EQ(read_text_file(folder / "big", 100).size(), 100u);
    EXPECT_EQ(error_of([&] { read_text_file(folder / "big", 99); }).first, ErrorCode::kInvalidFile);
}

}  // namespace
}  // namespace sluice
