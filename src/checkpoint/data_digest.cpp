#include "checkpoint/data_digest.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

namespace sluice {

namespace {

constexpr uint64_t kPagesOfAFile = 64, kPagesOfAll = 2048;

}  // namespace

std::string sampled_data_digest(std::span<const CheckpointFile> files, std::span<const ByteRange> parts) {
    const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
    XXH3_64bits_reset(state.get());
    std::array<std::byte, kPageBytes> page;
    std::vector<File> opened;
    const auto add = [&](const File& file, uint64_t offset, uint64_t bytes) {
        const std::span<std::byte> read(page.data(), std::min<uint64_t>(bytes, kPageBytes));
        XXH3_64bits_update(state.get(), page.data(), file.read_up_to(offset, read));
    };
    const uint64_t at_most = std::clamp<uint64_t>(kPagesOfAll / std::max<uint64_t>(files.size(), 1), 1, kPagesOfAFile);
    for (const CheckpointFile& each : files) {
        const File& file = opened.emplace_back(File::open(each.path));
        const uint64_t pages = (file.size() + kPageBytes - 1) / kPageBytes;
        const uint64_t samples = std::min(pages, at_most);
        for (uint64_t i = 0; i < samples; ++i) {
            // The middle of each of so many equal parts: the beginnings are headers, which the fingerprint has anyway.
            add(file, (2 * i + 1) * pages / (2 * samples) * kPageBytes, kPageBytes);
        }
        const uint64_t size = file.size();
        XXH3_64bits_update(state.get(), &size, sizeof size);
    }
    for (const ByteRange& part : parts) {
        const uint64_t begin = part.bytes > kPageBytes ? (part.bytes - kPageBytes) / 2 : 0;
        add(opened[part.file], part.offset + begin, part.bytes - begin);
    }
    return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
}

}  // namespace sluice
