// The store over real checkpoints, published and packed alike: what lands in a slot is what the files hold.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/expert_layout.h"
#include "sluice/pack.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

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

// An expert's record as it belongs into a slot.
std::vector<std::byte> record_of(const Checkpoint& checkpoint, int layer, int expert) {
    std::vector<std::byte> record(checkpoint.expert_layout(layer).record_bytes);
    for (const ExpertRead& part : checkpoint.expert_reads(layer, expert)) {
        File::open(checkpoint.files()[part.source.file].path)
            .read_at(part.source.offset, std::span(record).subspan(part.slot_offset, part.source.bytes));
    }
    std::vector<std::byte> scratch(checkpoint.arrangement_scratch(layer).value_or(0));
    checkpoint.arrange_expert(layer, record, scratch);
    return record;
}

// Offset and size of all that a layout names.
std::vector<std::pair<uint64_t, uint64_t>> parts_of(const ExpertLayout& layout) {
    std::vector<std::pair<uint64_t, uint64_t>> parts;
    for (const ProjectionLayout& matrix : {layout.gate, layout.up, layout.down}) {
        const WeightFormat& format = matrix.format;
        parts.emplace_back(matrix.data, format.data_bytes(matrix.rows, matrix.columns));
        parts.emplace_back(matrix.scales, format.scale_bytes(matrix.rows, matrix.columns));
        parts.emplace_back(matrix.zero_points, format.zero_point_bytes(matrix.rows, matrix.columns));
    }
    return parts;
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
            const std::vector<std::byte> wanted = record_of(*checkpoint, layer, ready.expert());
            const std::byte* got = host_bytes(ready.record()).data();
            for (const auto& [offset, bytes] : parts_of(checkpoint->expert_layout(layer))) {
                ASSERT_EQ(std::memcmp(got + offset, wanted.data() + offset, bytes), 0)
                    << "layer " << layer << " expert " << ready.expert();
            }
        });
        EXPECT_EQ(came.size(), static_cast<size_t>(checkpoint->config().experts()));
    }
    EXPECT_EQ(store.counters().failed_reads, 0u);
}

// Of a matrix in a slot or record.
std::vector<float> values_of(const ProjectionLayout& matrix, const std::byte* slot) {
    const WeightView view = view_in_slot(matrix, slot);
    std::vector<float> values(static_cast<size_t>(view.rows * view.columns));
    for (int64_t row = 0; row < view.rows; ++row) decode_row(view, row, values.data() + row * view.columns);
    return values;
}

// However the files have them: as published, or packed, where those that can stand in tiles do.
TEST(CheckpointExperts, StandInTilesWhereThatIsAskedFor) {
    const std::filesystem::path published = source_file("/tests/data/goldens/qwen3-moe-mlx4");
    const TemporaryFolder folder;
    pack(published, folder / "packed", {});
    for (const std::filesystem::path& model : {published, folder / "packed"}) {
        const auto checkpoint = Checkpoint::open(model);
        const ExpertLayout& stored = checkpoint->expert_layout(0);
        EXPECT_EQ(stored.up.tiled, checkpoint->packed());
        for (const bool tiled : {true, false}) {
            ExpertStoreOptions options;
            options.cache_bytes = ExpertStore::floor_bytes(*checkpoint);
            options.in_tiles = [=](const WeightFormat&) { return tiled; };
            ExpertStore store(checkpoint, options, make_host_slots);
            const ExpertLayout& held = store.layout(0);
            EXPECT_EQ(held.up.tiled, tiled);
            ExpertStream stream = store.stream(0, range(0, static_cast<int>(checkpoint->config().experts())));
            drain(stream, [&](const HeldExpert& ready) {
                ASSERT_FALSE(ready.error());
                const std::vector<std::byte> record = record_of(*checkpoint, 0, ready.expert());
                for (const Projection projection : kProjections) {
                    ASSERT_EQ(values_of(projection_of(held, projection), host_bytes(ready.record()).data()),
                              values_of(projection_of(stored, projection), record.data()))
                        << model << ", expert " << ready.expert() << ", " << projection_name(projection);
                }
            });
        }
    }
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
