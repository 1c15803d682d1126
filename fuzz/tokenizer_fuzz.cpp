// Hostile tokenizer.json files, hostile patterns inside them, and hostile text for a sound one.

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sluice/tokenizer.h"
#include "text/byte_alphabet.h"
#include "text/pattern.h"
#include "unicode/utf8.h"

namespace {

using sluice::TokenId;
using sluice::Tokenizer;

constexpr std::string_view kTexts[] = {"", "Hello world, 123!\n\n  x",
                                       "caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x99\x82", "\xFF\xC3(\xE2\x82",
                                       "<s>hi</s> </s>"};

void require(bool holds) {
    if (!holds) std::abort();
}

// What must hold of any tokenizer that opened, for any text.
std::string check_round_trip(const Tokenizer& tokenizer, std::string_view text) {
    const std::vector<TokenId> ids = tokenizer.encode(text, true);
    const std::string decoded = tokenizer.decode(ids);
    require(sluice::utf8::is_valid(decoded));
    sluice::StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (const TokenId id : ids) {
        require(id >= 0 && static_cast<size_t>(id) < tokenizer.vocabulary_size());
        tokenizer.token_bytes(id);
        const std::string piece = stream.push(id);
        require(sluice::utf8::is_valid(piece));
        streamed += piece;
    }
    require(streamed + stream.finish() == decoded);
    return decoded;
}

void fuzz_file(std::string_view json) {
    try {
        const Tokenizer tokenizer = Tokenizer::parse(json, "fuzz");
        for (const std::string_view text : kTexts) check_round_trip(tokenizer, text);
    } catch (const sluice::Error& error) {
        require(std::string_view(error.what()).find('\n') == std::string_view::npos);
    }
}

void fuzz_pattern(std::string_view data) {
    const size_t end = data.find('\0');
    if (end == std::string_view::npos || !sluice::utf8::is_valid(data.substr(0, end))) return;
    const std::string text = sluice::utf8::sanitize(data.substr(end + 1, 256));
    try {
        const sluice::Pattern pattern = sluice::Pattern::regex(data.substr(0, end), "fuzz");
        sluice::PatternScratch scratch;
        std::vector<sluice::TextSpan> spans;
        pattern.find(text, scratch, spans);
        size_t covered = 0;
        for (const sluice::TextSpan& span : spans) {
            require(span.begin == covered && span.end >= span.begin);
            covered = span.end;
        }
        require(covered == text.size());
    } catch (const sluice::Error&) {
    }
}

Tokenizer sound_tokenizer() {
    nlohmann::json vocabulary = nlohmann::json::object();
    for (int byte = 0; byte < 256; ++byte) {
        std::string character;
        sluice::utf8::append(character, sluice::byte_alphabet::character_of(static_cast<uint8_t>(byte)));
        vocabulary[character] = byte;
    }
    nlohmann::json merges = nlohmann::json::array();
    for (const auto& [left, right] : {std::pair("a", "b"), {"ab", "ab"}, {"b", "a"}, {"l", "l"}, {"e", "ll"}}) {
        vocabulary[std::string(left) + right] = vocabulary.size();
        merges.push_back({left, right});
    }
    const nlohmann::json document = {
        {"added_tokens",
         {{{"id", 300}, {"content", "<s>"}, {"special", true}, {"lstrip", true}},
          {{"id", 301}, {"content", "aba"}, {"special", false}, {"normalized", true}}}},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}},
    };
    return Tokenizer::parse(document.dump(), "sound");
}

void fuzz_text(std::string_view text) {
    static const Tokenizer tokenizer = sound_tokenizer();
    const std::string decoded = check_round_trip(tokenizer, text);
    // <s> takes white space along; without it the text comes back.
    if (text.find("<s>") == std::string_view::npos) require(decoded == sluice::utf8::sanitize(text));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0]) {
        case 'p':
            fuzz_pattern(rest);
            break;
        case 't':
            fuzz_text(rest);
            break;
        default:  // a file as it is, so that real ones serve as a corpus
            fuzz_file(std::string_view(reinterpret_cast<const char*>(data), size));
    }
    return 0;
}
