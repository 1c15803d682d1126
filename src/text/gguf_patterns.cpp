#include "text/gguf_patterns.h"

#include <algorithm>

#include "text/known_patterns.h"

namespace sluice {

namespace {

using Names = std::string_view[];

// Parts of which most patterns consist.
#define SLUICE_CONTRACTION R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define SLUICE_LETTERS R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define SLUICE_PUNCTUATION R"( ?[^\s\p{L}\p{N}]+[\r\n]*)"
#define SLUICE_SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
// Words by case: marks are letters of either.
#define SLUICE_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define SLUICE_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define SLUICE_CASED(end)                                                                               \
    R"([^\r\n\p{L}\p{N}]?)" SLUICE_UPPER "*" SLUICE_LOWER "+" end R"(|[^\r\n\p{L}\p{N}]?)" SLUICE_UPPER \
    "+" SLUICE_LOWER "*" end

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    SLUICE_CONTRACTION "|" SLUICE_LETTERS R"(|\p{N}|)" SLUICE_PUNCTUATION "|" SLUICE_SPACES;
constexpr std::string_view kQwen35 =
    SLUICE_CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SLUICE_SPACES;
constexpr std::string_view kLlama3 =
    SLUICE_CONTRACTION "|" SLUICE_LETTERS R"(|\p{N}{1,3}|)" SLUICE_PUNCTUATION "|" SLUICE_SPACES;
constexpr std::string_view kGpt4o =
    SLUICE_CASED(SLUICE_CONTRACTION "?") R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SLUICE_SPACES;
constexpr std::string_view kTekken = SLUICE_CASED("") R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SLUICE_SPACES;
constexpr std::string_view kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|)" SLUICE_LETTERS R"(|\p{N}|)" SLUICE_PUNCTUATION R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kSeedCoder =
    SLUICE_CONTRACTION "|" SLUICE_LETTERS R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Words with single spaces between them are one.
constexpr std::string_view kExaone = SLUICE_CONTRACTION
    R"(|[^\r\n\p{L}\p{N}]?\p{L}\p{M}*(?: ?\p{L}\p{M}*)*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";

constexpr std::string_view kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kChineseAndKana = R"([一-龥぀-ゟ゠-ヿ]+)";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+)"
    R"([\r\n]*|)" SLUICE_SPACES;

// By threes from the right.
constexpr std::string_view kDigitGroups = R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))";
constexpr std::string_view kAsianScripts =
    R"([\u4E00-\u9FFF\u3400-\u4DBF\uF900-\uFAFF\u3040-\u309F\u30A0-\u30FF\uFF65-\uFF9F\u2F00-\u2FDF\u0E40-\u0EFF)"
    R"(\u1780-\u17FF\u1000-\u109F\uAA60-\uAA7F\uA9E0-\uA9FF\uAC00-\uD7AF\u1100-\u11FF]+)";

constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kChineseAndKorean = R"([一-龥ࠀ-一가-퟿]+)";
// Letters that have a case, but for those of Georgian, which got theirs after the pattern was written.
constexpr std::string_view kCasedLetters = R"(\s?[\p{Lu}\p{Ll}\p{Lt}&&[^ა-ჿ]]+)";
constexpr std::string_view kDeepSeekPunctuation = R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)";
constexpr std::string_view kLastSpaces = R"(\s+$)";
constexpr std::string_view kDigitRun = R"(\p{N}+)", kOneDigit = R"(\p{N})";
constexpr std::string_view kAnyLetters = R"(\s?\p{L}+)", kAnyPunctuation = R"(\s?\p{P}+)";

// Of files from before the key.
constexpr std::string_view kPunctuationAlone = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr std::string_view kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
constexpr std::string_view kAsciiThree = R"([0-9][0-9][0-9])";

constexpr Names kGpt2Names = {"gpt-2", "olmo", "phi-2"};
constexpr Names kQwen2Names = {"qwen2", "deepseek-r1-qwen", "hunyuan", "megrez", "stablelm2"};
constexpr Names kQwen35Names = {"qwen35"};
constexpr Names kLlama3Names = {"llama-bpe", "llama3", "llama-v3"};
constexpr Names kGlmNames = {"glm4", "chatglm-bpe", "dbrx", "smaug-bpe"};
constexpr Names kGpt4oNames = {"gpt-4o", "llama4", "minimax-m2", "kanana2"};
constexpr Names kTekkenNames = {"tekken"};
constexpr Names kKimiNames = {"kimi-k2"};
constexpr Names kDeepSeek3Names = {"deepseek-v3", "hunyuan-dense", "joyai-llm"};
constexpr Names kDeepSeekNames = {"deepseek-llm"};
constexpr Names kDeepSeekCoderNames = {"deepseek-coder"};
constexpr Names kBailingNames = {"bailingmoe2", "bailingmoe"};
constexpr Names kSeedCoderNames = {"seed-coder"};
constexpr Names kExaoneNames = {"exaone-moe"};
constexpr Names kAfmoeNames = {"afmoe"};
constexpr Names kDefaultNames = {"default", ""};

#undef SLUICE_CONTRACTION
#undef SLUICE_LETTERS
#undef SLUICE_PUNCTUATION
#undef SLUICE_SPACES
#undef SLUICE_UPPER
#undef SLUICE_LOWER
#undef SLUICE_CASED

const std::vector<GgufPattern>& patterns() {
    static const std::vector<GgufPattern> kPatterns = {
        {.names = kGpt2Names, .passes = {kGpt2}},
        {.names = kQwen2Names, .passes = {kQwen2}},
        {.names = kQwen35Names, .passes = {kQwen35}},
        {.names = kLlama3Names, .passes = {kLlama3}, .ignores_merges = true, .adds_bos = true},
        {.names = kGlmNames, .passes = {kLlama3}},
        {.names = kGpt4oNames, .passes = {kGpt4o}},
        {.names = kTekkenNames, .passes = {kTekken}, .ignores_merges = true, .adds_bos = true},
        {.names = kKimiNames, .passes = {kKimiPattern}},
        {.names = kDeepSeek3Names, .passes = {kThreeDigits, kChineseAndKana, kDeepSeek3}},
        {.names = kDeepSeekNames,
         .passes = {kLineEnd, kCasedLetters, kDeepSeekPunctuation, kLastSpaces, kChineseAndKorean, kDigitRun}},
        {.names = kDeepSeekCoderNames,
         .passes = {kLineEnd, kAnyLetters, kAnyPunctuation, kChineseAndKorean, kOneDigit}},
        {.names = kBailingNames, .passes = {kBailing}},
        {.names = kSeedCoderNames, .passes = {kSeedCoder}},
        {.names = kExaoneNames, .passes = {kExaone}},
        {.names = kAfmoeNames, .passes = {kDigitGroups, kAsianScripts, kDeepSeek3}},
        {.names = kDefaultNames, .passes = {kPunctuationAlone, kGpt2Words, kDigitRun, kAsciiThree}},
    };
    return kPatterns;
}

}  // namespace

const GgufPattern* find_gguf_pattern(std::string_view name) {
    for (const GgufPattern& pattern : patterns()) {
        if (std::ranges::find(pattern.names, name) != pattern.names.end()) return &pattern;
    }
    return nullptr;
}

std::string gguf_pattern_names() {
    std::string text;
    for (const GgufPattern& pattern : patterns()) {
        for (const std::string_view name : pattern.names) {
            if (!name.empty()) text.append(text.empty() ? "" : ", ").append(name);
        }
    }
    return text;
}

}  // namespace sluice
