// Special tokens by name, chat templates, ends of an answer and sampling of a GGUF file.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "text/gguf_tokenizer.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kTemplate = "tokenizer.chat_template";

// As files name special tokens, and as templates do.
struct SpecialToken {
    std::string_view key, name;
    bool ends = false;  // an answer
};
constexpr SpecialToken kSpecialTokens[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token"},       {"tokenizer.ggml.eos_token_id", "eos_token", true},
    {"tokenizer.ggml.eot_token_id", "eot_token", true}, {"tokenizer.ggml.eom_token_id", "eom_token", true},
    {"tokenizer.ggml.unknown_token_id", "unk_token"},   {"tokenizer.ggml.padding_token_id", "pad_token"},
    {"tokenizer.ggml.separator_token_id", "sep_token"},
};

// Tokens that end a turn wherever they are met: many files name one of several.
constexpr std::string_view kEndTokens[] = {
    "<|im_end|>",      "<|end|>",    "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>",         "<|eot_id|>",
    "<|end_of_text|>", "<|eom_id|>", "<turn|>",    "</s>",     "[EOT]",         "<｜end▁of▁sentence｜>",
};
// Of Harmony, whose messages before the answer end with another token.
constexpr std::string_view kHarmonyEnd = "<|return|>", kHarmonyMessageEnd = "<|end|>";

struct Sampling {
    std::string_view key, name;
};
constexpr Sampling kSampling[] = {
    {"general.sampling.temp", "temperature"},
    {"general.sampling.top_k", "top_k"},
    {"general.sampling.top_p", "top_p"},
    {"general.sampling.min_p", "min_p"},
    {"general.sampling.penalty_repeat", "repetition_penalty"},
};

std::vector<std::string> token_texts(const GgufHeader& header) {
    std::vector<std::string> texts;
    if (const GgufValue* tokens = header.find(kGgufTokens)) {
        tokens->each_text([&](std::string_view text) { texts.push_back(utf8::sanitize(text)); });
    }
    return texts;
}

}  // namespace

Json gguf_special_tokens(const GgufHeader& header) {
    const std::vector<std::string> texts = token_texts(header);
    Json tokens = Json::object();
    for (const SpecialToken& token : kSpecialTokens) {
        const int64_t id = header.integer_or(token.key, -1);
        if (id >= 0 && id < static_cast<int64_t>(texts.size())) tokens[token.name] = texts[static_cast<size_t>(id)];
    }
    return tokens;
}

std::vector<std::pair<std::string, std::string>> gguf_chat_templates(const GgufHeader& header) {
    std::vector<std::pair<std::string, std::string>> found;
    if (header.has(kTemplate)) found.emplace_back("default", header.text(kTemplate));
    if (const GgufValue* names = header.find("tokenizer.chat_templates")) {
        names->each_text([&](std::string_view name) {
            const std::string key = fmt::format("{}.{}", kTemplate, name);
            if (header.has(key)) found.emplace_back(utf8::sanitize(name), header.text(key));
        });
    }
    return found;
}

Json gguf_generation_config(const GgufHeader& header) {
    const std::vector<std::string> texts = token_texts(header);
    std::vector<int64_t> ends;
    const auto add = [&](int64_t id) {
        const bool known = id >= 0 && id < static_cast<int64_t>(texts.size());
        if (known && std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    };
    for (const SpecialToken& token : kSpecialTokens) {
        if (token.ends) add(header.integer_or(token.key, -1));
    }
    const bool harmony = std::ranges::find(texts, kHarmonyEnd) != texts.end();
    for (const std::string_view end : kEndTokens) {
        if (harmony && end == kHarmonyMessageEnd) continue;
        const auto found = std::ranges::find(texts, end);
        if (found != texts.end()) add(found - texts.begin());
    }
    Json config = Json::object();
    config["eos_token_id"] = ends;
    for (const Sampling& each : kSampling) {
        if (header.has(each.key)) config[each.name] = header.number(each.key);
    }
    return config;
}

}  // namespace sluice
