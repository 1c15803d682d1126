// The store over real checkpoints, published and packed alike: what lands in a slot is what the files hold.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

std::vector<std::filesystem::path> checkpoints() {
    std::vector<std::filesystem::path> found;
    for (const char* place : {"/models", "/../shared/goldens", "/../shared/models"}) {
        const std::filesystem::path folder = sluice::testing::source_file(place);
        if (!std::filesystem::is_directory(folder)) continue;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            if (std::filesystem::exists(entry.path() / "config.json")) found.push_back(entry.path());
        }
    }
    std::sort(found.begin(), found.end());
    return found;
}

void expect_bytes_of_files(const std::filesystem::path& folder, ReaderKind kind, When direct) {
    const auto checkpoint = Checkpoint::open(folder);
    ExpertStoreOptions options;
    options.cache_bytes = std::min(ExpertStore::floor_bytes(*checkpoint) * 2, ExpertStore::full_bytes(*checkpoint));
    options.reader = kind;
    options.direct_io = direct;
    options.read_threads = 4;
    ExpertStore store(checkpoint, options, make_host_slots);
    for (int layer = 0; layer < checkpoint->config().layer_count(); ++layer) {
        if (checkpoint->config().mixture_of(layer) == nullptr) continue;
        ExpertStream stream = store.stream(layer, range(0, static_cast<int>(checkpoint->config().experts())));
        const auto came = drain(stream, [&](const HeldExpert& ready) {
            ASSERT_FALSE(ready.error());
            for (const ExpertRead& part : checkpoint->expert_reads(layer, ready.expert())) {
                std::vector<std::byte> wanted(part.source.bytes);
                File::open(checkpoint->files()[part.source.file].path).read_at(part.source.offset, wanted);
                const std::byte* got = host_bytes(ready.record()).data() + part.slot_offset;
                ASSERT_EQ(std::memcmp(got, wanted.data(), wanted.size()), 0)
                    << "layer " << layer << " expert " << ready.expert();
            }
        });
        EXPECT_EQ(came.size(), static_cast<size_t>(checkpoint->config().experts()));
    }
    EXPECT_EQ(store.counters().failed_reads, 0u);
}

TEST(CheckpointExperts, SlotsHoldTheBytesOfTheFiles) {
    size_t opened = 0;
    for (const auto& folder : checkpoints()) {
        SCOPED_TRACE(folder.string());
        try {
            Checkpoint::open(folder);
        } catch (const Error& error) {
            if (error.code() == ErrorCode::kUnsupported) continue;
            throw;
        }
        ++opened;
        expect_bytes_of_files(folder, ReaderKind::kPread, When::kOff);
        expect_bytes_of_files(folder, ReaderKind::kPread, When::kOn);
        expect_bytes_of_files(folder, ReaderKind::kUring, When::kOn);
        expect_bytes_of_files(folder, ReaderKind::kMmap, When::kAuto);
    }
    if (opened == 0) GTEST_SKIP() << "no checkpoint beside the source";
}

}  // namespace
}  // namespace sluice::testing
