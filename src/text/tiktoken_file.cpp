#include "text/tiktoken_file.h"

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/known_patterns.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

using Json = nlohmann::json;

constexpr int64_t kReservedTokens = 256;  // ids that Kimi's class gives to special tokens, named or not

int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
}

// The bytes, none where the text is not base64.
std::string from_base64(std::string_view text) {
    std::string bytes;
    if (text.empty() || text.size() % 4 != 0) return bytes;
    const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
    for (size_t at = 0; at < text.size(); at += 4) {
        uint32_t bits = 0;
        const size_t digits = at + 4 == text.size() ? 4 - padding : 4;
        for (size_t i = 0; i < digits; ++i) {
            const int digit = digit_of(text[at + i]);
            if (digit < 0) return {};
            bits |= static_cast<uint32_t>(digit) << (18 - 6 * i);
        }
        for (size_t i = 0; i + 1 < digits; ++i) bytes += static_cast<char>((bits >> (16 - 8 * i)) & 0xFF);
    }
    return bytes;
}

void read_ranks(std::string_view text, TokenizerFile& file) {
    size_t line_number = 0;
    while (!text.empty()) {
        ++line_number;
        std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) continue;
        const auto invalid = [&](std::string_view what) {
            fail(ErrorCode::kInvalidFile, "{}: line {} {}", file.label, line_number, what);
        };
        const size_t space = line.find(' ');
        const std::string bytes = from_base64(line.substr(0, space));
        TokenId rank = -1;
        if (space != std::string_view::npos) {
            const char* const last = line.data() + line.size();
            const auto read = std::from_chars(line.data() + space + 1, last, rank);
            if (read.ec != std::errc() || read.ptr != last) rank = -1;
        }
        if (bytes.empty() || rank < 0 || rank > kMaxTokenId) invalid("must be a token in base64, a space and its rank");
        std::string content;
        byte_alphabet::encode(bytes, content);
        if (file.vocabulary.add(content, rank) != TokenizerVocabulary::Added::kNew) {
            invalid("has a token or a rank that an earlier line has");
        }
    }
    for (int byte = 0; byte < 256; ++byte) {
        const char one = static_cast<char>(byte);
        std::string content;
        byte_alphabet::encode(std::string_view(&one, 1), content);
        if (!file.vocabulary.find(content)) {
            fail(ErrorCode::kInvalidFile, "{}: byte {} is no token, so that not every text has tokens", file.label,
                 byte);
        }
    }
}

// A merge for every way to cut a token in two. All of them have the token's rank: which pair comes first is settled by
// what it makes, and then by where it stands.
void add_merges(TokenizerFile& file) {
    for (TokenId id = 0; id < file.vocabulary.id_limit(); ++id) {
        const std::string_view content = file.vocabulary.content(id).value_or(std::string_view());
        for (size_t cut = 0; cut < content.size();) {
            cut += utf8::length_from_lead(content[cut]);
            const auto left = file.vocabulary.find(content.substr(0, cut));
            const auto right = file.vocabulary.find(content.substr(cut));
            if (left && right) file.merges.push_back({*left, *right, id, static_cast<uint32_t>(id)});
        }
    }
}

Json reserved_tokens(const TokenizerVocabulary& vocabulary, const Json& config) {
    std::set<std::string> named;
    if (config.contains("added_tokens_decoder") && config["added_tokens_decoder"].is_object()) {
        for (const auto& [id, token] : config["added_tokens_decoder"].items()) named.insert(id);
    }
    Json tokens = Json::array();
    for (int64_t id = vocabulary.id_limit(); id < vocabulary.id_limit() + kReservedTokens; ++id) {
        if (named.contains(std::to_string(id))) continue;
        Json token = Json::object();
        token["id"] = id;
        token["content"] = fmt::format("<|reserved_token_{}|>", id);
        token["special"] = true;
        tokens.push_back(std::move(token));
    }
    return tokens;
}

// The rest of the document.
Json document_of(const TokenizerVocabulary& vocabulary, const Json& config) {
    Json document = Json::object();
    document["model"] = Json::object();
    document["model"]["ignore_merges"] = true;
    document["added_tokens"] = reserved_tokens(vocabulary, config);
    Json split = Json::object();
    split["type"] = "Split";
    split["behavior"] = "Isolated";
    split["pattern"]["Regex"] = kKimiPattern;
    Json bytes = Json::object();
    bytes["type"] = "ByteLevel";
    bytes["add_prefix_space"] = false;
    bytes["use_regex"] = false;
    document["decoder"] = bytes;
    document["pre_tokenizer"]["type"] = "Sequence";
    document["pre_tokenizer"]["pretokenizers"] = Json::array();
    document["pre_tokenizer"]["pretokenizers"].push_back(std::move(split));
    document["pre_tokenizer"]["pretokenizers"].push_back(std::move(bytes));
    return document;
}

}  // namespace

TokenizerFile parse_tiktoken_file(std::string_view text, const std::string& label, const Json& config) {
    const std::string type = TokenizerField(config, "tokenizer_config.json: ").text_or("tokenizer_class", "");
    if (!type.empty() && type != "TikTokenTokenizer") {
        fail(ErrorCode::kUnsupported,
             "{}: the patterns of tokenizer_class {} are not known (those of TikTokenTokenizer are); a tokenizer.json "
             "beside it would do",
             label, in_quotes(type));
    }
    TokenizerFile file;
    file.label = label;
    // A published line spends 18 bytes, 8 of them on the token.
    file.vocabulary.reserve(text.size() / 18, text.size() / 2);
    read_ranks(text, file);
    add_merges(file);
    file.rest = document_of(file.vocabulary, config);
    return file;
}

}  // namespace sluice
