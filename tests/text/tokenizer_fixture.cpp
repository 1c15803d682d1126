#include "tests/text/tokenizer_fixture.h"

#include "text/byte_alphabet.h"
#include "unicode/utf8.h"

namespace sluice::test {

using nlohmann::json;

const MergeList kHelloMerges = {{"l", "l"}, {"h", "e"},        {"he", "ll"}, {"hell", "o"},      {"\u0120", "w"},
                                {"o", "r"}, {"\u0120w", "or"}, {"l", "d"},   {"\u0120wor", "ld"}};

json byte_level_document(const MergeList& merges) {
    json document = json::parse(R"({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {}, "merges": []}})");
    json& vocabulary = document["model"]["vocab"];
    for (int byte = 0; byte < 256; ++byte) {
        std::string character;
        utf8::append(character, byte_alphabet::character_of(static_cast<uint8_t>(byte)));
        vocabulary[character] = byte;
    }
    json& pairs = document["model"]["merges"];
    for (const auto& [left, right] : merges) {
        vocabulary[left + right] = 256 + pairs.size();
        json pair = json::array();
        pair.push_back(left);
        pair.push_back(right);
        pairs.push_back(pair);
    }
    return document;
}

json with(json document, const std::string& path, const std::string& value) {
    json step;
    step["op"] = value.empty() ? "remove" : "add";
    step["path"] = path;
    if (!value.empty()) step["value"] = json::parse(value);
    json patch = json::array();
    patch.push_back(step);
    return document.patch(patch);
}

json with_added(json document, const std::string& tokens) {
    document["added_tokens"] = json::parse(tokens);
    for (json& token : document["added_tokens"]) {
        for (const char* flag : {"special", "normalized", "lstrip", "rstrip", "single_word"}) {
            if (!token.contains(flag)) token[flag] = false;
        }
    }
    return document;
}

Tokenizer tokenizer_of(const json& document) {
    return Tokenizer::parse(document.dump(), "test.json");
}

}  // namespace sluice::test
