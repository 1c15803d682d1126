// What one engine's life teaches the next: the same logits with fewer reads waited for, in a file that hurts nobody.

#include "engine/warm_start.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/user_folders.h"
#include "engine/engine_impl.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

const std::string kGolden = sluice::testing::source_file("/tests/data/goldens/qwen3-moe-mlx4");
constexpr const char* kFile = "hot-experts.sluice";

struct WarmStartTest : ::testing::Test {
    WarmStartTest() {
        fs::copy(kGolden, model, fs::copy_options::recursive);
        fs::permissions(folder.path(), fs::perms(0755));
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
    }
    ~WarmStartTest() override { ::unsetenv("XDG_CACHE_HOME"); }

    std::unique_ptr<Engine> open(bool warm_start, uint64_t records = 0) const {
        EngineOptions options;
        options.warm_start = warm_start;
        options.look_ahead = When::kOff;
        options.context = 64;
        return Engine::Impl::open(
            model, options, [&](const auto& checkpoint, ExpertStoreOptions store, const auto& make_slots) {
                if (records > 0) store.cache_bytes = records * ExpertCatalogue::of(checkpoint).record_sizes().front();
                return std::make_unique<ExpertStore>(checkpoint, store, make_slots);
            });
    }

    // Logits of a prompt and of tokens decoded one by one.
    static std::vector<float> run(Engine& engine) {
        const auto session = engine.new_session();
        std::vector<float> logits;
        for (const std::vector<TokenId>& tokens : {std::vector<TokenId>{11, 48, 85, 122}, {7}, {99}, {300}}) {
            const std::vector<float> next = engine.evaluate(*session, tokens).logits;
            logits.insert(logits.end(), next.begin(), next.end());
        }
        return logits;
    }

    static void wait_for_warm(const Engine& engine, uint64_t reads) {
        while (engine.statistics().experts.warm_reads < reads) std::this_thread::yield();
    }

    size_t listed() const {
        const auto checkpoint = Checkpoint::open(model);
        return WarmStart(*checkpoint, folder / "cache" / "sluice").read().hottest().size();
    }

    const TemporaryFolder folder;
    const fs::path model = folder / "model";
};

TEST_F(WarmStartTest, OffLeavesNoFile) {
    run(*open(false));
    EXPECT_FALSE(fs::exists(model / kFile));
    EXPECT_FALSE(fs::exists(folder / "cache"));
    EXPECT_FALSE(EngineOptions().warm_start);
}

TEST_F(WarmStartTest, TheNextEngineHasWhatThisOneUsed) {
    const std::vector<float> cold = run(*open(true));
    ASSERT_TRUE(fs::exists(model / kFile));
    const size_t used = listed();
    ASSERT_GT(used, 8u);
    for (const uint64_t records : {uint64_t{0}, uint64_t{12}, uint64_t{20}}) {
        const auto engine = open(true, records);
        wait_for_warm(*engine, std::min<uint64_t>(used, records == 0 ? used : records));
        const EngineStatistics before = engine->statistics();
        EXPECT_EQ(before.experts.hits + before.experts.misses, 0u);
        EXPECT_EQ(before.experts.bytes_read, before.experts.warm_bytes);
        EXPECT_TRUE(run(*engine) == cold) << "cache of " << records;
        const EngineStatistics after = engine->statistics();
        EXPECT_GT(after.experts.warm_hits, 0u);
        if (records == 0) {
            EXPECT_EQ(after.experts.misses, 0u);
            EXPECT_EQ(after.experts.warm_hits, used);
        }
        EXPECT_EQ(listed(), used);
    }
    // At once, reads under way or not: the same.
    EXPECT_TRUE(run(*open(true)) == cold);
    EXPECT_TRUE(run(*open(true, 12)) == cold);
}

TEST_F(WarmStartTest, AnEngineThatEvaluatesNothingTeachesNothing) {
    open(true);
    EXPECT_FALSE(fs::exists(model / kFile));
}

TEST_F(WarmStartTest, AfterAnAnswerItGoesOn) {
    run(*open(true));
    const size_t used = listed();
    const auto engine = open(true);
    const auto session = engine->new_session();
    GenerationOptions options;
    options.max_tokens = 1;
    engine->generate(*session, std::vector<TokenId>{11}, options);  // needs none that was not listed
    const auto brought = [&] {
        const EngineStatistics now = engine->statistics();
        return now.experts.warm_reads + now.experts.misses;
    };
    while (brought() < used) std::this_thread::yield();
    // Each once; what was asked for while its warm read was under way counts as both.
    const ExpertCounters now = engine->statistics().experts;
    EXPECT_LE(now.warm_reads + now.misses - now.joined, used);
    EXPECT_GT(engine->statistics().experts.warm_reads, 0u);
}

TEST_F(WarmStartTest, ADamagedOrForeignListIsIgnoredAndReplaced) {
    run(*open(true));
    const size_t used = listed();
    const std::string empty_header("\x08\0\0\0\0\0\0\0{}      ", 16);
    for (const std::string& text : {std::string(), std::string("no list"), empty_header}) {
        std::ofstream(model / kFile, std::ios::binary) << text;
        EXPECT_EQ(listed(), 0u);
        run(*open(true));
        EXPECT_EQ(listed(), used);
    }
    HotList(99, 5).save(model / kFile, "another model");
    EXPECT_EQ(listed(), 0u);
    fs::remove(model / kFile);
    fs::create_directory(model / kFile);  // cannot be replaced
    run(*open(true));
    EXPECT_EQ(listed(), 0u);
}

TEST_F(WarmStartTest, TwoEnginesAtOnceBothTeach) {
    auto one = open(true), other = open(true);
    run(*one);
    other->evaluate(*other->new_session(), std::vector<TokenId>{400, 401, 402, 403, 404, 405, 406, 407, 408});
    one.reset();
    const size_t of_one = listed();
    other.reset();
    EXPECT_GT(listed(), of_one);
}

// Superusers may write anywhere; for as long as this lives the process is none.
struct OrdinaryUser {
    OrdinaryUser() { root = ::geteuid() == 0 && ::seteuid(65534) == 0; }
    ~OrdinaryUser() {
        if (root && ::seteuid(0) != 0) std::abort();
    }
    bool root = false;
};

TEST_F(WarmStartTest, OfAModelThatCannotBeWrittenIsInTheUsersCache) {
    const auto checkpoint = Checkpoint::open(model);
    const fs::path cache = folder / "cache" / "sluice";
    fs::create_directories(cache.parent_path());
    fs::permissions(cache.parent_path(), fs::perms(0777));
    fs::permissions(model, fs::perms(0555));
    HotList used(static_cast<int>(checkpoint->config().layer_count()),
                 static_cast<int>(checkpoint->config().experts()));
    used.note(0, std::vector<int>{1, 3});
    {
        const OrdinaryUser user;
        WarmStart(*checkpoint, cache).learn(used);
        EXPECT_EQ(WarmStart(*checkpoint, cache).path().parent_path(), cache);
        EXPECT_EQ(WarmStart(*checkpoint, cache).read().hottest(), used.hottest());
    }
    EXPECT_FALSE(fs::exists(model / kFile));
    EXPECT_EQ(std::distance(fs::directory_iterator(cache), {}), 1);
    // Nowhere to write at all: nothing is learned, nothing fails.
    fs::remove_all(cache);
    fs::permissions(cache.parent_path(), fs::perms(0555));
    {
        const OrdinaryUser user;
        for (const fs::path& place : {cache, fs::path()}) {
            WarmStart(*checkpoint, place).learn(used);
            EXPECT_TRUE(WarmStart(*checkpoint, place).read().empty());
        }
    }
    // A list that came with the model, for everybody to read, is used all the same.
    used.save(model / kFile, checkpoint->fingerprint());
    fs::permissions(model / kFile, fs::perms(0644));
    {
        const OrdinaryUser user;
        EXPECT_EQ(WarmStart(*checkpoint, cache).read().hottest(), used.hottest());
    }
    fs::permissions(model, fs::perms(0755));
}

TEST(UserCacheFolder, FollowsTheEnvironment) {
    const char* const home = ::getenv("HOME");
    const std::string kept = home == nullptr ? "" : home;
    ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
    EXPECT_EQ(user_cache_folder(), "/somewhere/sluice");
    ::setenv("XDG_CACHE_HOME", "relative", 1);
    ::setenv("HOME", "/home/someone", 1);
    EXPECT_EQ(user_cache_folder(), "/home/someone/.cache/sluice");
    ::unsetenv("XDG_CACHE_HOME");
    ::unsetenv("HOME");
    EXPECT_TRUE(user_cache_folder().empty());
    if (home != nullptr) ::setenv("HOME", kept.c_str(), 1);
}

}  // namespace
}  // namespace sluice::testing
