// What a person may get wrong between a prompt and the model: one clear line each, and the engine goes on.

#include <gtest/gtest.h>

#include <fstream>
#include <limits>

#include "checkpoint/pack.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/safetensors.h"
#include "sluice/engine.h"
#include "sluice/option_table.h"
#include "tests/support/golden_case.h"
#include "tests/support/sanitizer.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::filesystem::path kModel = sluice::testing::source_file("/tests/data/goldens/qwen3-moe-mlx4");

template <typename Body>
void expect_error(ErrorCode code, const std::string& text, Body&& body) {
    try {
        body();
        ADD_FAILURE() << "no error; expected one with \"" << text << '"';
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "more than one line";
    }
}

TEST(EngineErrors, TokensThatCannotBeEvaluated) {
    EngineOptions options;
    options.context = 32;
    const auto engine = Engine::open(kModel, options);
    const auto session = engine->new_session();
    const std::vector<TokenId> outside = {1, 512}, negative = {-1}, good(30, 7), more(3, 7);
    expect_error(ErrorCode::kUsage, "prompt is empty", [&] { engine->evaluate(*session, {}); });
    expect_error(ErrorCode::kUsage, "512", [&] { engine->evaluate(*session, outside); });
    expect_error(ErrorCode::kUsage, "-1", [&] { engine->evaluate(*session, negative); });
    engine->evaluate(*session, good);
    expect_error(ErrorCode::kContextFull, "`context`", [&] { engine->evaluate(*session, more); });
    EXPECT_EQ(session->position(), 30);
    const SequenceInput twice[] = {{.session = session.get(), .tokens = std::span(good).first(1)},
                                   {.session = session.get(), .tokens = std::span(good).first(1)}};
    expect_error(ErrorCode::kUsage, "same session twice", [&] { engine->evaluate(twice); });
    engine->evaluate(*session, std::span(good).first(2));
}

TEST(EngineErrors, AFullContextFailsOnlyItsOwnSequence) {
    EngineOptions options;
    options.context = 16;
    const auto engine = Engine::open(kModel, options);
    const auto full = engine->new_session(), free = engine->new_session();
    const std::vector<TokenId> many(20, 3), few(4, 3);
    const SequenceInput batch[] = {{.session = full.get(), .tokens = many}, {.session = free.get(), .tokens = few}};
    const auto outputs = engine->evaluate(batch);
    EXPECT_TRUE(outputs[0].error);
    EXPECT_FALSE(outputs[1].error);
    EXPECT_EQ(full->position(), 0);
    EXPECT_EQ(free->position(), 4);
}

TEST(EngineErrors, OptionsThatCannotBe) {
    const auto opened = [](auto change) {
        return [change] {
            EngineOptions options;
            change(options);
            Engine::open(kModel, options);
        };
    };
    const auto set = [](const char* name, const char* text) {
        return [=] {
            EngineOptions options;
            set_option(options, name, text);
        };
    };
    expect_error(ErrorCode::kUsage, "`context` of 1073741824 tokens", opened([](auto& o) { o.context = 1 << 30; }));
    expect_error(ErrorCode::kUsage, "`context` -1", opened([](auto& o) { o.context = -1; }));
    expect_error(ErrorCode::kUsage, "`chunk`", opened([](auto& o) { o.chunk = std::numeric_limits<int64_t>::max(); }));
    expect_error(ErrorCode::kUsage, "`io` \"tape\" is none of auto, pread, uring, mmap", set("io", "tape"));
    expect_error(ErrorCode::kUsage, "`direct_io`", set("direct_io", "maybe"));
    expect_error(ErrorCode::kUsage, "`look_ahead` \"far\" is none of auto, on, off", set("look_ahead", "far"));
    expect_error(ErrorCode::kUsage, "`warm_start`", set("warm_start", "hot"));
    expect_error(ErrorCode::kUsage, "`kv_format` \"f8\" is none of f32, bf16, int8", set("kv_format", "f8"));
    expect_error(ErrorCode::kUsage, "`device` \"gpu\"", set("device", "gpu"));
    expect_error(ErrorCode::kUnsupported, "`device` \"abacus\": this build runs on cpu, reference, cuda, auto",
                 opened([](auto& o) { o.device = "abacus"; }));
    expect_error(ErrorCode::kUsage, "`instruction_set`", set("instruction_set", "mmx"));
    expect_error(ErrorCode::kUsage, "no option `colour`", set("colour", "blue"));
    expect_error(ErrorCode::kOutOfMemory, "would do", opened([](auto& o) { o.ram_bytes = 1 << 20; }));
    expect_error(ErrorCode::kNotFound, "nowhere", [] { Engine::open("/nowhere", {}); });
}

TEST(EngineErrors, TheRamThatWouldDoDoes) {
    EngineOptions options;
    options.ram_bytes = 1 << 20;
    std::string message;
    try {
        Engine::open(kModel, options);
    } catch (const Error& error) {
        message = error.what();
    }
    const size_t at = message.rfind("`ram_bytes` ");
    ASSERT_NE(at, std::string::npos) << message;
    if (kAddressSanitizer) return;
    options.ram_bytes = std::stoull(message.substr(at + 12)) << 20;
    EXPECT_NO_THROW(Engine::open(kModel, options));
}

TEST(EngineErrors, TheForeseenMemoryIsTheLeastThatOpens) {
    if (kAddressSanitizer) return;
    for (const int64_t context : {0, 100}) {
        EngineOptions options;
        options.context = context;
        const MemoryOutlook foreseen = Engine::foresee_memory(kModel, options);
        EXPECT_TRUE(foreseen.runs);
        EXPECT_GE(foreseen.full_bytes, foreseen.least_bytes);
        // Whole megabytes, and a quarter of one to spare.
        options.ram_bytes = foreseen.least_bytes - (2 << 20);
        EXPECT_FALSE(Engine::foresee_memory(kModel, options).runs);
        expect_error(ErrorCode::kOutOfMemory, "would do", [&] { Engine::open(kModel, options); });
        options.ram_bytes = foreseen.least_bytes;
        const MemoryOutlook least = Engine::foresee_memory(kModel, options);
        const auto engine = Engine::open(kModel, options);
        EXPECT_TRUE(least.runs);
        EXPECT_EQ(least.context, engine->info().context);
        EXPECT_EQ(least.chunk, engine->info().chunk);
        const auto session = engine->new_session();
        EXPECT_FALSE(engine->evaluate(*session, std::vector<TokenId>{1, 2, 3}).logits.empty());
    }
}

TEST(EngineErrors, NaNInAWeightIsNamed) {
    const TemporaryFolder folder;
    std::filesystem::copy(sluice::testing::source_file("/tests/data/goldens/qwen3-next-bf16"), folder.path());
    const auto file = folder / "model.safetensors";
    const std::string name = "model.layers.2.mlp.experts.3.down_proj.weight";  // as stored
    const SafetensorsEntry entry = SafetensorsReader::open(file).entry(name);
    std::filesystem::permissions(file, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
    std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
    for (uint64_t i = 0; i < entry.bytes; i += 2) {
        out.seekp(static_cast<std::streamoff>(entry.offset + i));
        out.write("\xc0\x7f", 2);
    }
    out.close();
    const auto engine = Engine::open(folder.path(), {});
    const auto session = engine->new_session();
    std::vector<TokenId> varied;
    for (TokenId i = 0; i < 60; ++i) varied.push_back(i * 7 % 512);
    expect_error(ErrorCode::kInvalidFile, "model.layers.2.mlp.experts, expert 3, down_proj",
                 [&] { engine->evaluate(*session, varied, LogitsWanted::kAll); });
}

// A file that loses its experts while it is open is an error that names it, whatever reads it, and no signal; the
// engine goes on with what it has, and with the rest once the file is back.
TEST(EngineErrors, AFileThatIsCutWhileRunning) {
    for (const ReaderKind io : {ReaderKind::kPread, ReaderKind::kUring, ReaderKind::kMmap}) {
        const std::string_view name = choice_name(kReaderNames, static_cast<int>(io));
        const TemporaryFolder folder;
        pack_in_shards(kModel, folder / "model", {}, 1);
        std::filesystem::path file;  // one with experts and none of the trunk, which stays mapped
        for (const auto& entry : std::filesystem::directory_iterator(folder / "model")) {
            if (entry.path().extension() != ".safetensors") continue;
            const auto tensors = SafetensorsReader::open(entry.path()).header().tensors;
            if (tensors.size() == 1 && tensors.front().name == packed_experts_name(1)) file = entry.path();
        }
        ASSERT_FALSE(file.empty());
        EngineOptions options;
        options.io = io;
        options.context = 64;
        const auto engine = Engine::open(folder / "model", options);
        const auto session = engine->new_session();
        const std::vector<TokenId> few(1, 7), many = {1, 40, 80, 120, 160, 200, 240, 280, 320, 360};
        engine->evaluate(*session, few);
        std::filesystem::copy_file(file, folder / "kept");
        std::filesystem::resize_file(file, 4096);
        expect_error(ErrorCode::kIo, file.filename().string(), [&] { engine->evaluate(*session, many); });
        EXPECT_EQ(session->position(), 1) << name;
        std::filesystem::copy_file(folder / "kept", file, std::filesystem::copy_options::overwrite_existing);
        const SequenceOutput after = engine->evaluate(*session, many);
        const auto sound = Engine::open(kModel, options);
        const auto other = sound->new_session();
        sound->evaluate(*other, few);
        EXPECT_TRUE(after.logits == sound->evaluate(*other, many).logits) << name;
    }
}

TEST(EngineErrors, CancellingStopsAtAChunk) {
    EngineOptions options;
    options.chunk = 4;
    const auto engine = Engine::open(kModel, options);
    const auto session = engine->new_session();
    const std::vector<TokenId> ids(20, 5);
    expect_error(ErrorCode::kCancelled, "stopped", [&] {
        engine->evaluate(*session, ids, LogitsWanted::kLast, [](int64_t done, int64_t) { return done < 8; });
    });
    EXPECT_EQ(session->position(), 8);
}

}  // namespace
}  // namespace sluice::testing
