#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

const std::vector<SafetensorsWriter::Declaration> kTensors = {
    {"first", DType::kU8, {5}}, {"second", DType::kF32, {2, 1}}, {"empty", DType::kF16, {0}}};

std::vector<std::byte> bytes_of(std::initializer_list<int> values) {
    std::vector<std::byte> bytes;
    for (const int value : values) bytes.push_back(static_cast<std::byte>(value));
    return bytes;
}

TEST(SafetensorsWriter, WritesInAnyOrder) {
    const TemporaryFolder folder;
    const auto path = folder / "out.safetensors";
    const std::map<std::string, std::string> metadata = {{"a", "line\nbreak \"quoted\""}, {"b", "\xff"}};
    SafetensorsWriter writer(path, kTensors, metadata, 4096);
    writer.write("second", bytes_of({0, 0, 128, 63, 0, 0, 0, 64}));
    writer.write("first", bytes_of({4, 5}), 3);
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.write("first", bytes_of({1, 2, 3}));
    writer.commit();

    const auto reader = SafetensorsReader::open(path);
    EXPECT_EQ(reader.header().data_offset, 4096u);
    EXPECT_EQ(reader.integers("first"), (std::vector<int64_t>{1, 2, 3, 4, 5}));
    EXPECT_EQ(reader.floats("second"), (std::vector<float>{1.0f, 2.0f}));
    EXPECT_EQ(reader.entry("second").shape, (std::vector<int64_t>{2, 1}));
    EXPECT_EQ(reader.header().metadata.at("a"), metadata.at("a"));
    EXPECT_EQ(reader.header().metadata.at("b"),
              "\xef\xbf\xbd");  // text that is no UTF-8 cannot be stored as it is
    EXPECT_EQ(std::filesystem::file_size(path), 4096u + 13);
}

TEST(SafetensorsWriter, NothingAppearsWithoutCommit) {
    const TemporaryFolder folder;
    { SafetensorsWriter writer(folder / "out.safetensors", kTensors); }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(SafetensorsWriter, Misuse) {
    const TemporaryFolder folder;
    const auto path = folder / "out.safetensors";
    SafetensorsWriter writer(path, kTensors);
    expect_error(ErrorCode::kUsage, {"third"}, [&] { writer.write("third", bytes_of({1})); });
    expect_error(ErrorCode::kUsage, {"first", "5"}, [&] { writer.write("first", bytes_of({1, 2}), 4); });
    expect_error(ErrorCode::kUsage, {"first"}, [&] { writer.write("first", bytes_of({1}), ~uint64_t{0}); });
    writer.write("first", bytes_of({1, 2, 3, 4, 5}));
    expect_error(ErrorCode::kUsage, {"8 bytes"}, [&] { writer.commit(); });
    expect_error(ErrorCode::kInvalidFile, {"out.safetensors", "twice"}, [&] {
        SafetensorsWriter twice(path, {{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}});
    });
    expect_error(ErrorCode::kUsage, {"tensor a"}, [&] { SafetensorsWriter bad(path, {{"a", DType::kU8, {-1}}}); });
}

}  // namespace
}  // namespace sluice
