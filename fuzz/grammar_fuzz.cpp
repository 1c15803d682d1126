// A JSON Schema, or a grammar in GBNF where the text begins with a zero byte, and then tokens drawn under its mask:
// anything may come out but a crash, a hang, or a place where no token is left.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sluice/grammar.h"
#include "text/byte_alphabet.h"
#include "unicode/utf8.h"

namespace {

// Every byte is a token.
sluice::Tokenizer make_tokenizer() {
    std::string vocabulary;
    for (int byte = 0; byte < 256; ++byte) {
        std::string character;
        sluice::utf8::append(character, sluice::byte_alphabet::character_of(static_cast<uint8_t>(byte)));
        if (character == "\"" || character == "\\") character.insert(0, "\\");
        vocabulary += (byte == 0 ? "\"" : ",\"") + character + "\":" + std::to_string(byte);
    }
    return sluice::Tokenizer::parse(
        R"({"version":"1.0","added_tokens":[],"normalizer":null,"post_processor":null,"decoder":{"type":"ByteLevel"},)"
        R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},)"
        R"("model":{"type":"BPE","merges":[],"vocab":{)" +
            vocabulary + "}}}",
        "fuzz");
}

void draw(const std::shared_ptr<const sluice::Grammar>& grammar, size_t seed) {
    sluice::GrammarState state(grammar);
    for (size_t i = 0; i < 64 && !state.is_finished(); ++i) {
        sluice::TokenMask mask(256);
        mask.allow_none();
        state.allow(mask);
        const size_t first = (seed + 31 * i) % 256;
        size_t token = 0;
        while (token < 256 && !mask.allows(static_cast<sluice::TokenId>((first + token) % 256))) ++token;
        if (token == 256) {
            if (state.is_complete()) return;
            std::abort();
        }
        if (!state.accept(static_cast<sluice::TokenId>((first + token) % 256))) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const sluice::Tokenizer tokenizer = make_tokenizer();
    static const sluice::GrammarCompiler compiler(tokenizer, {.cached = 1, .end_tokens = {}});
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    try {
        if (input.starts_with('\0')) {
            draw(compiler.gbnf(input.substr(1)), size);
        } else {
            draw(compiler.json_schema(input), size);
        }
    } catch (const sluice::Error&) {
    }
    return 0;
}
