#include "base/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/file.h"
#include "tests/support/sanitizer.h"
#include "tests/support/temporary_folder.h"

namespace sluice {
namespace {

TEST(RoundUp, GoesToTheNextMultiple) {
    EXPECT_EQ(round_up(0, 4096), 0u);
    EXPECT_EQ(round_up(1, 4096), 4096u);
    EXPECT_EQ(round_up(4096, 4096), 4096u);
    EXPECT_EQ(round_up(4097, 4096), 8192u);
}

TEST(PageMemory, IsAlignedAndZero) {
    const PageMemory memory(10000);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kPageBytes, 0u);
    EXPECT_GE(memory.size(), 10000u);
    EXPECT_TRUE(
        std::all_of(memory.bytes().begin(), memory.bytes().end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(PageMemory, ReadsAsZerosAfterRelease) {
    const PageMemory memory(4 * kPageBytes);
    std::memset(memory.data(), 7, memory.size());
    memory.release(kPageBytes, 2 * kPageBytes);
    EXPECT_EQ(memory.data()[0], std::byte{7});
    EXPECT_EQ(memory.data()[kPageBytes], std::byte{0});
    EXPECT_EQ(memory.data()[3 * kPageBytes - 1], std::byte{0});
    EXPECT_EQ(memory.data()[3 * kPageBytes], std::byte{7});
}

TEST(PageMemory, MovesWithItsBytes) {
    PageMemory first(kPageBytes);
    first.data()[5] = std::byte{9};
    PageMemory second(std::move(first));
    EXPECT_EQ(second.data()[5], std::byte{9});
    PageMemory third;
    third = std::move(second);
    EXPECT_EQ(third.data()[5], std::byte{9});
}

TEST(ResidentBytes, GrowWithWhatIsTouched) {
    const uint64_t before = resident_bytes();
    const PageMemory memory(64 << 20);
    std::memset(memory.data(), 1, memory.size());
    EXPECT_GE(resident_bytes() + (8 << 20), before + memory.size());
    EXPECT_GE(peak_resident_bytes() + (8 << 20), before + memory.size());
    EXPECT_GT(available_memory_bytes(), 0u);
}

TEST(ResidentBytes, OfFilesAreNotPrivate) {
    const testing::TemporaryFolder folder;
    constexpr size_t kBytes = 32 << 20;
    write_text_file(folder / "large", std::string(kBytes, 'x'));
    const auto mapped = MappedFile::open(folder / "large");
    const uint64_t all = resident_bytes(), own = private_resident_bytes();
    size_t sum = 0;
    for (const std::byte byte : mapped->bytes()) sum += static_cast<size_t>(byte);
    EXPECT_EQ(sum, kBytes * 'x');
    EXPECT_GE(resident_bytes(), all + kBytes - (4 << 20));
    if (testing::kAddressSanitizer || testing::kThreadSanitizer) return;
    EXPECT_LE(private_resident_bytes(), own + (4 << 20));
}

}  // namespace
}  // namespace sluice
