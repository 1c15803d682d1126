// Prompts that begin as an earlier one did are not evaluated again, not even by another process.

#include "engine/prefix_cache.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <fstream>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "sluice/engine.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::string kModel = sluice::testing::source_file("/models/stories-hybrid");

std::string long_text(size_t words) {
    std::string text = "Once upon a time";
    for (size_t i = 0; i < words; ++i) text += i % 7 == 0 ? ", a small bear" : " went to the river";
    return text;
}

class PrefixCacheTest : public ::testing::Test {
  protected:
    std::unique_ptr<Engine> open(uint64_t limit = 1ull << 30) {
        EngineOptions options;
        options.context = 2048;
        options.prefix_cache = folder_.path();
        options.prefix_cache_bytes = limit;
        return Engine::open(kModel, options);
    }
    GenerationResult run(Engine& engine, const std::string& prompt) {
        GenerationOptions options;
        options.sampling.temperature = 0;
        options.max_tokens = 8;
        options.ignore_eos = true;
        const auto session = engine.new_session();
        return engine.generate_text(*session, prompt, options);
    }
    size_t entries() {
        size_t count = 0;
        for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
            count += entry.path().extension() == ".safetensors" ? 1 : 0;
        }
        return count;
    }
    TemporaryFolder folder_;
};

TEST_F(PrefixCacheTest, ARestartedProcessGoesOnWithoutEvaluatingAgain) {
    const std::string first = long_text(300);
    const GenerationResult before = run(*open(), first);
    EXPECT_GT(before.prefilled_tokens, 1000u);
    const std::string second = first + before.text + " and then the bear";
    EngineOptions without;
    without.context = 2048;
    const GenerationResult expected = run(*Engine::open(kModel, without), second);
    const GenerationResult after = run(*open(), second);
    EXPECT_LT(after.prefilled_tokens, 16u);
    EXPECT_EQ(after.token_ids, expected.token_ids);
    EXPECT_EQ(after.prompt_ids, expected.prompt_ids);
}

// Every kind of arithmetic has entries of its own, and leaves those of the others alone.
TEST_F(PrefixCacheTest, AnEntryIsOfItsArithmeticAlone) {
    const std::string text = long_text(60);
    const auto evaluated = [&](KvFormat kv_format, bool exact, InstructionSet instruction_set) {
        EngineOptions options;
        options.context = 2048;
        options.prefix_cache = folder_.path();
        options.kv_format = kv_format;
        options.exact = exact;
        options.instruction_set = instruction_set;
        const GenerationResult result = run(*Engine::open(kModel, options), text);
        return result.prefilled_tokens;
    };
    size_t of_one = 0;
    for (const bool again : {false, true}) {
        for (const KvFormat format : {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8}) {
            EXPECT_EQ(evaluated(format, false, InstructionSet::kAuto) < 16, again) << static_cast<int>(format);
            if (of_one == 0) of_one = entries();
        }
        EXPECT_EQ(evaluated(KvFormat::kF32, true, InstructionSet::kAuto) < 16, again) << "exact";
        EXPECT_EQ(evaluated(KvFormat::kF32, false, InstructionSet::kScalar) < 16, again) << "scalar";
        EXPECT_EQ(entries(), 5 * of_one);
    }
}

TEST_F(PrefixCacheTest, ADamagedEntryIsAMiss) {
    const std::string first = long_text(50);
    const GenerationResult before = run(*open(), first);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
        std::filesystem::resize_file(entry.path(), std::filesystem::file_size(entry.path()) - 7);
    }
    const GenerationResult after = run(*open(), first + " again");
    EXPECT_EQ(after.prefilled_tokens, after.prompt_ids.size());
}

TEST_F(PrefixCacheTest, AnEntryThatCannotBeReadIsReplaced) {
    const std::string text = long_text(50);
    run(*open(), text);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
        write_text_file(entry.path(), "no entry");
    }
    EXPECT_GT(run(*open(), text).prefilled_tokens, 16u);
    EXPECT_LT(run(*open(), text).prefilled_tokens, 16u);
}

// The first token does not wait for the drive.
TEST_F(PrefixCacheTest, EntriesAreWrittenBehindTheAnswer) {
    const auto engine = open();
    const auto session = engine->new_session();
    GenerationOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = 4;
    options.ignore_eos = true;
    size_t at_first = SIZE_MAX;
    engine->generate_text(*session, long_text(60), options, [&](TokenId, const std::string&) {
        at_first = std::min(at_first, entries());
        return true;
    });
    EXPECT_EQ(at_first, 0u);
    EXPECT_GE(entries(), 1u);
}

// NaN for every number of a state, and a checksum that fits.
void poison(const std::filesystem::path& path) {
    const SafetensorsHeader header = SafetensorsReader::open(path).header();
    std::string file = read_text_file(path);
    uint64_t begin = file.size();
    for (const SafetensorsEntry& tensor : header.tensors) {
        begin = std::min(begin, tensor.offset);
        if (tensor.name != "token_ids")
            std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(tensor.offset), tensor.bytes, '\xff');
    }
    const std::string old = header.metadata.at("checksum");
    file.replace(file.find(old), old.size(),
                 fmt::format("{:016x}", XXH3_64bits(file.data() + begin, file.size() - begin)));
    write_text_file(path, file);
}

TEST_F(PrefixCacheTest, AnEntryThatLeadsToNothingFiniteIsDropped) {
    const std::string text = long_text(60);
    const GenerationResult expected = run(*open(), text);
    ASSERT_GE(entries(), 1u);
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) poison(entry.path());
    const auto engine = open();
    EXPECT_THROW(run(*engine, text), Error);
    EXPECT_EQ(run(*engine, text).token_ids, expected.token_ids) << "in the same process";
    EXPECT_EQ(run(*open(), text).token_ids, expected.token_ids) << "and in the next one";
}

TEST_F(PrefixCacheTest, TheLeastRecentlyUsedGoFirst) {
    const auto engine = open(3 << 20);
    for (const char* start : {"One ", "Two ", "Three ", "Four ", "Five "}) run(*engine, start + long_text(120));
    uint64_t total = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) total += entry.file_size();
    EXPECT_LE(total, 3u << 20);
    EXPECT_GE(entries(), 1u);
    const GenerationResult last = run(*engine, "Five " + long_text(120) + " more");
    EXPECT_LT(last.prefilled_tokens, 16u);
}

// A bundled model's layers are recurrent: the first prompt to part from an earlier one leaves a state where it does.
TEST_F(PrefixCacheTest, ACommonBeginningCountsAcrossRuns) {
    const std::string shared = long_text(120);
    run(*open(), shared + " One bear was red.");
    run(*open(), shared + " Two birds went home.");
    const std::string third = shared + " Three fish came by.";
    EngineOptions without;
    without.context = 2048;
    const GenerationResult expected = run(*Engine::open(kModel, without), third);
    const GenerationResult after = run(*open(), third);
    EXPECT_LT(after.prefilled_tokens, 16u);
    EXPECT_EQ(after.token_ids, expected.token_ids);
}

// The next turn has the answer without its reasoning where the first one asked for it.
TEST_F(PrefixCacheTest, ATurnBeginsWhereTheLastMessageEnded) {
    const std::string asked = "<|im_start|>user\n" + long_text(120) + "<|im_end|>\n";
    const std::string answer = "<|im_start|>assistant\n";
    run(*open(), asked + answer + "<think>\n");
    const std::string second =
        asked + answer + "It slept.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n" + answer + "<think>\n";
    EngineOptions without;
    without.context = 2048;
    const GenerationResult expected = run(*Engine::open(kModel, without), second);
    const GenerationResult after = run(*open(), second);
    EXPECT_LT(after.prefilled_tokens, 64u);
    EXPECT_GT(after.prompt_ids.size(), 300u);
    EXPECT_EQ(after.token_ids, expected.token_ids);
}

TEST_F(PrefixCacheTest, TheLimitHoldsInAnyFolderThatIsFound) {
    {
        const auto engine = open();
        for (const char* start : {"One ", "Two ", "Three "}) run(*engine, start + long_text(120));
    }
    const auto bytes = [&] {
        uint64_t total = 0;
        for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) total += entry.file_size();
        return total;
    };
    const uint64_t before = bytes();
    const auto engine = open(before / 2);
    EXPECT_LE(bytes(), before / 2) << "before anything is written";
    EXPECT_GT(bytes(), 0u) << "and no more goes than has to";
    run(*engine, "Four " + long_text(120));
    EXPECT_LE(bytes(), before / 2);
    open(1);
    EXPECT_EQ(bytes(), 0u);
}

TEST_F(PrefixCacheTest, EntriesAreForTheUserAlone) {
    const std::filesystem::path inner = folder_ / "a/b";
    EngineOptions options;
    options.context = 256;
    options.prefix_cache = inner;
    run(*Engine::open(kModel, options), "Once upon a time");
    namespace fs = std::filesystem;
    EXPECT_EQ(fs::status(inner).permissions(), fs::perms::owner_all);
    size_t entries = 0;
    for (const auto& entry : fs::directory_iterator(inner)) {
        EXPECT_EQ(entry.status().permissions(), fs::perms::owner_read | fs::perms::owner_write);
        ++entries;
    }
    EXPECT_GE(entries, 1u);
}

TEST_F(PrefixCacheTest, AFolderThatTakesNothingCostsTheEntryNotTheRequest) {
    const auto engine = open();
    std::filesystem::remove_all(folder_.path());
    std::ofstream(folder_.path()) << "a file where the folder was";
    const GenerationResult result = run(*engine, long_text(20));
    EXPECT_EQ(result.token_ids.size(), 8u);
    std::filesystem::remove(folder_.path());
}

}  // namespace
}  // namespace sluice::testing
