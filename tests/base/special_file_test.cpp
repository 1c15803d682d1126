// Outputs go through devices, FIFOs and symbolic links; none of them is replaced.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/special_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

std::string content(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(SpecialFile, ALinkStaysAndItsTargetHasTheText) {
    const TemporaryFolder folder;
    write_text_file(folder / "target", "a longer text from before");
    const auto inode = [&] {
        struct stat status {};
        EXPECT_EQ(::stat((folder / "target").c_str(), &status), 0);
        return status.st_ino;
    };
    const auto before = inode();
    std::filesystem::create_symlink("target", folder / "link");
    EXPECT_FALSE(is_replaceable(folder / "link"));
    write_text_file(folder / "link", "short");
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
    EXPECT_EQ(content(folder / "target"), "short");
    EXPECT_EQ(inode(), before);
}

TEST(SpecialFile, ALinkToNothingMakesItsTarget) {
    const TemporaryFolder folder;
    std::filesystem::create_symlink(folder / "target", folder / "link");
    write_text_file(folder / "link", "text");
    EXPECT_EQ(content(folder / "target"), "text");
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
}

TEST(SpecialFile, ADeviceAndAFifoAreWrittenThrough) {
    const TemporaryFolder folder;
    std::filesystem::create_symlink("/dev/null", folder / "null");
    write_text_file(folder / "null", "gone");
    EXPECT_TRUE(std::filesystem::is_character_file(folder / "null"));
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    std::string read;
    std::thread reader([&] { read = content(folder / "fifo"); });
    write_text_file(folder / "fifo", "through it");
    reader.join();
    EXPECT_EQ(read, "through it");
    EXPECT_TRUE(std::filesystem::is_fifo(folder / "fifo"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 2) << "nothing left beside them";
}

TEST(SpecialFile, AFolderIsAnErrorAndAPlainFileIsReplaced) {
    const TemporaryFolder folder;
    EXPECT_THROW(write_text_file(folder.path(), "text"), Error);
    write_text_file(folder / "plain", "one");
    EXPECT_TRUE(is_replaceable(folder / "plain"));
    EXPECT_TRUE(is_replaceable(folder / "missing"));
    write_text_file(folder / "plain", "two");
    EXPECT_EQ(content(folder / "plain"), "two");
}

}  // namespace
}  // namespace sluice::testing
