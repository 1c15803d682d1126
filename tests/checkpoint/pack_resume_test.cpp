#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/pack.h"
#include "checkpoint/safetensors.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr uint64_t kSmallShards = 400'000;  // a layer's records or two in each
const PackOptions kOptions{.quantize = "affine4", .group_size = 64};

class PackResume : public ::testing::Test {
  protected:
    void SetUp() override {
        synthesize_shape(source(), tiny_shape("qwen3.6-35b-a3b", 6), SynthEncoding::kBf16, 1);
        whole_ = pack_in_shards(source(), folder_ / "whole", kOptions, kSmallShards);
        ASSERT_GE(whole_.files, 4u);
        ASSERT_EQ(whole_.records_reused, 0u);
    }
    std::filesystem::path source() const { return folder_ / "source"; }

    void expect_whole(const std::filesystem::path& target) const {
        ASSERT_EQ(files_in(target), files_in(folder_ / "whole"));
        for (const std::string& name : files_in(target)) {
            EXPECT_EQ(read_text_file(target / name), read_text_file(folder_ / "whole" / name)) << name;
        }
    }

    TemporaryFolder folder_;
    PackReport whole_;
};

TEST_F(PackResume, GoesOnAfterACancellationAnywhere) {
    uint64_t most_reused = 0;
    for (const double share : {0.0, 0.2, 0.5, 0.8, 0.99}) {
        const auto target = folder_ / ("cancelled" + std::to_string(share));
        const auto stop = [share](uint64_t done, uint64_t total) {
            return static_cast<double>(done) <= share * static_cast<double>(total);
        };
        expect_error(ErrorCode::kCancelled, {"cancelled"},
                     [&] { pack_in_shards(source(), target, kOptions, kSmallShards, stop); });
        for (const std::string& name : files_in(target)) EXPECT_THAT(name, ::testing::EndsWith(".safetensors"));
        EXPECT_THROW(Checkpoint::open(target), Error);
        const PackReport report = pack_in_shards(source(), target, kOptions, kSmallShards);
        EXPECT_EQ(report.records, whole_.records);
        most_reused = std::max(most_reused, report.records_reused);
        expect_whole(target);
    }
    EXPECT_GE(most_reused, whole_.records / 2);
}

TEST_F(PackResume, GoesOnAfterBeingKilled) {
    for (const double share : {0.1, 0.6, 1.0}) {
        const auto target = folder_ / ("killed" + std::to_string(share));
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            pack_in_shards(source(), target, kOptions, kSmallShards, [share](uint64_t done, uint64_t total) {
                if (static_cast<double>(done) >= share * static_cast<double>(total)) ::raise(SIGKILL);
                return true;
            });
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        EXPECT_THAT(files_in(target), Contains(HasSubstr(".tmp-")));
        for (const std::string& name : files_in(target)) {
            if (name.ends_with(".safetensors")) {
                EXPECT_NO_THROW(read_safetensors_header(File::open(target / name))) << name;
            }
        }
        EXPECT_THROW(Checkpoint::open(target), Error);
        const PackReport report = pack_in_shards(source(), target, kOptions, kSmallShards);
        if (share >= 0.6) {
            EXPECT_GT(report.records_reused, 0u);
        }
        expect_whole(target);
    }
}

TEST_F(PackResume, WritesNothingAgainWhenAllIsThere) {
    const auto shards = [&] {
        std::vector<std::filesystem::file_time_type> found;
        for (const std::string& name : files_in(folder_ / "whole")) {
            if (name.ends_with(".safetensors")) {
                found.push_back(std::filesystem::last_write_time(folder_ / "whole" / name));
            }
        }
        return found;
    };
    const auto times = shards();
    EXPECT_EQ(pack_in_shards(source(), folder_ / "whole", kOptions, kSmallShards).records_reused, whole_.records);
    EXPECT_EQ(shards(), times);
}

TEST_F(PackResume, RefusesAnotherSourceOrOtherOptions) {
    expect_error(ErrorCode::kUsage, {"--quantize affine4 --group-size 64", "--quantize affine8"}, [&] {
        pack_in_shards(source(), folder_ / "whole", {.quantize = "affine8", .group_size = 64}, kSmallShards);
    });
    expect_error(ErrorCode::kUsage, {"--group-size 32"}, [&] {
        pack_in_shards(source(), folder_ / "whole", {.quantize = "affine4", .group_size = 32}, kSmallShards);
    });
    const auto other = folder_ / "other";
    SynthShape shape = tiny_shape("qwen3.6-35b-a3b", 6);
    shape.config.vocabulary += 64;
    synthesize_shape(other, shape, SynthEncoding::kBf16, 1);
    expect_error(ErrorCode::kUsage, {"whole", "other"},
                 [&] { pack_in_shards(other, folder_ / "whole", kOptions, kSmallShards); });
    EXPECT_NO_THROW(verify_packed(folder_ / "whole"));
}

TEST_F(PackResume, RefusesAFolderOfOtherFiles) {
    const auto target = folder_ / "home";
    std::filesystem::create_directories(target);
    write_text_file(target / "notes.txt", "keep");
    try {
        pack(source(), target, kOptions);
        ADD_FAILURE() << "packed";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUsage);
        EXPECT_THAT(error.what(), HasSubstr("notes.txt"));
    }
    EXPECT_EQ(files_in(target), std::vector<std::string>{"notes.txt"});
}

TEST_F(PackResume, WritesAMissingShardAgain) {
    const std::string second = files_in(folder_ / "whole").at(3);  // after both JSON files and the first
    ASSERT_THAT(second, ::testing::StartsWith("model-00002-of-"));
    std::filesystem::remove(folder_ / "whole" / second);
    const PackReport report = pack_in_shards(source(), folder_ / "whole", kOptions, kSmallShards);
    EXPECT_LT(report.records_reused, whole_.records);
    EXPECT_NO_THROW(verify_packed(folder_ / "whole"));
}

}  // namespace
}  // namespace sluice::testing
