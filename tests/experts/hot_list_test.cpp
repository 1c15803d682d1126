// What runs have taught about which experts are used: counting, merging, and files that are damaged or not meant.

#include "experts/hot_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;

constexpr int kLayers = 3, kExperts = 16;
constexpr const char* kModel = "a model";

void note(HotList& list, int layer, const std::vector<int>& experts, int times = 1) {
    for (int i = 0; i < times; ++i) list.note(layer, experts);
}

// Every layer's turns took `experts`.
HotList run_of(const std::vector<int>& experts, int turns) {
    HotList list(kLayers, kExperts);
    for (int layer = 0; layer < kLayers; ++layer) note(list, layer, experts, turns);
    return list;
}

TEST(HotList, RanksByTheShareOfTheLayersTurns) {
    HotList list(kLayers, kExperts);
    EXPECT_TRUE(list.empty());
    EXPECT_TRUE(list.hottest().empty());
    note(list, 0, {1, 2}, 30);
    note(list, 0, {2}, 10);
    note(list, 2, {5}, 3);  // few turns, but all of them
    EXPECT_FALSE(list.empty());
    EXPECT_DOUBLE_EQ(list.share({0, 1}), 0.75);
    EXPECT_DOUBLE_EQ(list.share({1, 1}), 0.0);
    EXPECT_THAT(list.hottest(), ElementsAre(ExpertKey{0, 2}, ExpertKey{2, 5}, ExpertKey{0, 1}));
}

TEST(HotList, WhatIsOldInARunFades) {
    HotList list(kLayers, kExperts);
    note(list, 0, {1}, 10000);
    note(list, 0, {2}, 2500);
    EXPECT_GT(list.share({0, 2}), list.share({0, 1}));
    EXPECT_GT(list.share({0, 1}), 0.0);
}

TEST(HotList, OneOddRunDoesNotWipeWhatManyTaught) {
    HotList list(kLayers, kExperts);
    for (int run = 0; run < 8; ++run) {
        HotList next = run_of({1, 2, 3}, 2000);
        next.add_earlier(list);
        list = next;
    }
    HotList odd = run_of({9}, 1000000);
    odd.add_earlier(list);
    EXPECT_GT(odd.share({1, 2}), 0.7);
    EXPECT_GT(odd.share({1, 9}), 0.1);
    // But what goes on is learned.
    for (int run = 0; run < 8; ++run) {
        HotList next = run_of({9}, 2000);
        next.add_earlier(odd);
        odd = next;
    }
    EXPECT_GT(odd.share({1, 9}), 0.7);
}

TEST(HotList, ComesBackFromItsFile) {
    const TemporaryFolder folder;
    HotList list(kLayers, kExperts);
    note(list, 0, {1, 2}, 30);
    note(list, 2, {5, 6}, 20);
    note(list, 2, {6}, 1);
    list.save(folder / "list", kModel);
    const HotList back = HotList::load(folder / "list", kModel, kLayers, kExperts);
    EXPECT_EQ(back.hottest(), list.hottest());
    for (const ExpertKey key : list.hottest()) EXPECT_NEAR(back.share(key), list.share(key), 2e-5);
    EXPECT_LT(std::filesystem::file_size(folder / "list"), 1024u);
}

TEST(HotList, OfALargeModelIsSmall) {
    const TemporaryFolder folder;
    HotList list(61, 384);
    list.note(0, std::vector<int>{1});
    list.save(folder / "list", kModel);
    EXPECT_LT(std::filesystem::file_size(folder / "list"), 64u << 10);
}

ErrorCode refusal(const std::filesystem::path& path, const std::string& model, int layers, int experts) {
    try {
        HotList::load(path, model, layers, experts);
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        return error.code();
    }
    ADD_FAILURE() << "was loaded";
    return ErrorCode::kUsage;
}

TEST(HotList, OfAnotherModelIsRefused) {
    const TemporaryFolder folder;
    run_of({1}, 5).save(folder / "list", kModel);
    EXPECT_EQ(refusal(folder / "list", "another", kLayers, kExperts), ErrorCode::kInvalidFile);
    EXPECT_EQ(refusal(folder / "list", kModel, kLayers + 1, kExperts), ErrorCode::kInvalidFile);
    EXPECT_EQ(refusal(folder / "list", kModel, kLayers, kExperts - 1), ErrorCode::kInvalidFile);
    EXPECT_EQ(refusal(folder / "none", kModel, kLayers, kExperts), ErrorCode::kNotFound);
}

void write_plainly(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

// Loads as it was written, or is refused: never anything else.
void expect_whole_or_refused(const std::filesystem::path& path, const HotList& whole) {
    try {
        const HotList list = HotList::load(path, kModel, kLayers, kExperts);
        EXPECT_EQ(list.hottest(), whole.hottest());
    } catch (const Error&) {
    }
}

TEST(HotList, DamagedFilesAreRefused) {
    const TemporaryFolder folder;
    const HotList list = run_of({1, 7, 8}, 50);
    list.save(folder / "list", kModel);
    const std::string text = read_text_file(folder / "list");
    for (size_t length = 0; length < text.size(); ++length) {
        write_plainly(folder / "damaged", text.substr(0, length));
        EXPECT_THROW(HotList::load(folder / "damaged", kModel, kLayers, kExperts), Error) << length;
    }
    std::mt19937 random(1);
    for (int i = 0; i < 2000; ++i) {
        std::string damaged = text;
        for (unsigned change = 0; change <= random() % 4; ++change)
            damaged[random() % damaged.size()] = static_cast<char>(random());
        if (random() % 4 == 0) damaged.resize(random() % (2 * damaged.size()));
        write_plainly(folder / "damaged", damaged);
        expect_whole_or_refused(folder / "damaged", list);
    }
}

TEST(HotList, ManyWritersLeaveOneOfTheirFiles) {
    const TemporaryFolder folder;
    constexpr int kWriters = 4;
    const auto list_of = [](int writer) { return run_of({writer}, 5); };
    list_of(0).save(folder / "list", kModel);
    std::atomic<int> working = kWriters;
    std::vector<std::thread> writers;
    for (int writer = 0; writer < kWriters; ++writer) {
        writers.emplace_back([&, writer] {
            for (int i = 0; i < 25; ++i) list_of(writer).save(folder / "list", kModel);
            --working;
        });
    }
    do {
        EXPECT_NO_THROW({
            const HotList list = HotList::load(folder / "list", kModel, kLayers, kExperts);
            EXPECT_EQ(list.hottest().size(), static_cast<size_t>(kLayers));
        });
    } while (working > 0);
    for (std::thread& writer : writers) writer.join();
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace sluice::testing
