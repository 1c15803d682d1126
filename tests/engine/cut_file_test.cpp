// The file of the trunk, which stays mapped, is cut under a running engine: an error that names it and no signal;
// brought back, the engine goes on with the tokens of a sound run.

#include <gtest/gtest.h>

#include "sluice/engine.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

const std::vector<TokenId> kPrompt = {7, 40, 80, 120, 160, 200, 240, 280};
const std::vector<TokenId> kNext = {320};

class CutFile : public ::testing::TestWithParam<const char*> {
  protected:
    CutFile() {
        std::filesystem::copy(std::filesystem::path(sluice::testing::source_file("/tests/data/goldens")) / GetParam(),
                              model_);
        for (const auto& entry : std::filesystem::directory_iterator(model_)) {
            std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_write,
                                         std::filesystem::perm_options::add);
        }
        std::filesystem::copy_file(file_, folder_ / "kept");
        options_.context = 64;
    }

    void cut_to(uint64_t bytes) { std::filesystem::resize_file(file_, bytes); }
    void bring_back() {
        std::filesystem::copy_file(folder_ / "kept", file_, std::filesystem::copy_options::overwrite_existing);
    }

    static void expect_refused(Engine& engine, Session& session) {
        const int64_t before = session.position();
        try {
            engine.evaluate(session, kNext);
            ADD_FAILURE() << "no error";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kIo) << error.what();
            EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos) << error.what();
        }
        EXPECT_EQ(session.position(), before);
    }

    const TemporaryFolder folder_;
    const std::filesystem::path model_ = folder_ / "model", file_ = model_ / "model.safetensors";
    EngineOptions options_;
};

TEST_P(CutFile, IsAnErrorAndTheEngineGoesOnOnceItIsBack) {
    const auto engine = Engine::open(model_, options_);
    const auto session = engine->new_session(), other = engine->new_session();
    engine->evaluate(*session, kPrompt);
    engine->evaluate(*other, kPrompt);
    const std::vector<float> expected = engine->evaluate(*other, kNext).logits;
    const uint64_t whole = std::filesystem::file_size(file_);
    // In the header; within a page in the middle; by the last byte alone, which no page fault shows.
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{8}, whole / 2 + 1, whole - 1}) {
        cut_to(bytes);
        expect_refused(*engine, *session);
        expect_refused(*engine, *session);
        EXPECT_ANY_THROW(Engine::open(model_, options_));
        bring_back();
        // What was read while the file was short is read anew; the request that finds out may still fail.
        try {
            engine->evaluate(*session, kNext);
            session->truncate(static_cast<int64_t>(kPrompt.size()));
        } catch (const Error&) {
        }
        EXPECT_TRUE(engine->evaluate(*session, kNext).logits == expected) << bytes;
        session->truncate(static_cast<int64_t>(kPrompt.size()));
    }
}

TEST_P(CutFile, ThatIsWholeAgainBeforeAnybodyLooksIsNoError) {
    const auto engine = Engine::open(model_, options_);
    const auto session = engine->new_session(), other = engine->new_session();
    engine->evaluate(*session, kPrompt);
    cut_to(0);
    bring_back();
    const std::vector<float> after = engine->evaluate(*session, kNext).logits;
    engine->evaluate(*other, kPrompt);
    EXPECT_TRUE(after == engine->evaluate(*other, kNext).logits);
}

INSTANTIATE_TEST_SUITE_P(Models, CutFile, ::testing::Values("qwen3-moe-mlx4", "qwen3-next-bf16"), [](const auto& each) {
    return std::string(each.param).substr(0, 9) == "qwen3-moe" ? "attention" : "recurrent";
});

}  // namespace
}  // namespace sluice::testing
