#include "engine/generation_config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

class GenerationConfig : public ::testing::Test {
  protected:
    void write(const char* name, const char* text) { write_text_file(folder_ / name, text); }
    GenerationDefaults read() { return read_generation_defaults(folder_.path(), nullptr); }
    TemporaryFolder folder_;
};

TEST_F(GenerationConfig, NothingMeansGreedyWithoutAnEnd) {
    EXPECT_EQ(read().sampling.temperature, 0);
    EXPECT_TRUE(read().eos_ids.empty());
}

TEST_F(GenerationConfig, SamplingAndAListOfEnds) {
    write("generation_config.json",
          R"({"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "eos_token_id": [5, 7, 5]})");
    const GenerationDefaults defaults = read();
    EXPECT_EQ(defaults.eos_ids, (std::vector<TokenId>{5, 7}));
    EXPECT_EQ(defaults.sampling.temperature, 0.7);
    EXPECT_EQ(defaults.sampling.top_k, 20);
    EXPECT_EQ(defaults.sampling.top_p, 0.8);
}

TEST_F(GenerationConfig, DoSampleFalseIsGreedy) {
    write("generation_config.json", R"({"do_sample": false, "temperature": 0.7})");
    EXPECT_EQ(read().sampling.temperature, 0);
}

TEST_F(GenerationConfig, APenaltyCountsWithoutSampling) {
    write("generation_config.json", R"({"do_sample": false, "repetition_penalty": 1.2, "top_p": 7})");
    EXPECT_EQ(read().sampling.repetition_penalty, 1.2);
    EXPECT_EQ(read().sampling.temperature, 0);
}

TEST_F(GenerationConfig, ValuesOutOfRangeAreNamedWithTheirFile) {
    for (const auto& [field, value] :
         std::vector<std::pair<std::string, std::string>>{{"top_k", "-1"},
                                                          {"top_k", "1e300"},
                                                          {"top_p", "0"},
                                                          {"min_p", "1.5"},
                                                          {"temperature", "-0.5"},
                                                          {"repetition_penalty", "1e38"}}) {
        write("generation_config.json", (R"({"do_sample": true, ")" + field + "\": " + value + "}").c_str());
        try {
            read();
            ADD_FAILURE() << field << ' ' << value;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kInvalidFile);
            const std::string text = error.what();
            EXPECT_NE(text.find("generation_config.json: " + field), std::string::npos) << text;
        }
    }
}

TEST_F(GenerationConfig, EndFromTheModelConfigEvenNested) {
    write("config.json", R"({"eos_token_id": null, "text_config": {"eos_token_id": 11}})");
    EXPECT_EQ(read().eos_ids, (std::vector<TokenId>{11}));
}

TEST_F(GenerationConfig, NonsenseIsNamed) {
    const auto message = [&] {
        try {
            read();
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    write("generation_config.json", R"({"eos_token_id": "five"})");
    EXPECT_NE(message().find("eos_token_id"), std::string::npos);
    write("generation_config.json", R"({"do_sample": true, "temperature": "hot"})");
    EXPECT_NE(message().find("temperature"), std::string::npos);
    write("generation_config.json", "[]");
    EXPECT_NE(message().find("generation_config.json"), std::string::npos);
}

}  // namespace
}  // namespace sluice::testing
