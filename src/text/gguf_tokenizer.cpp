#include "text/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "text/gguf_patterns.h"
#include "text/metaspace.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type", kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges", kPattern = "tokenizer.ggml.pre";
constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token", kAddEos = "tokenizer.ggml.add_eos_token";
constexpr std::string_view kMark = "\xE2\x96\x81";  // U+2581, in the place of a space

// tokenizer.ggml.token_type
enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// A list beside the tokens: one item for each, or absent.
const GgufValue* beside_tokens(const GgufHeader& header, std::string_view key) {
    const GgufValue* list = header.find(key);
    if (list == nullptr) return nullptr;
    const uint64_t tokens = header.find(kGgufTokens)->count();
    if (!list->is_array() || list->count() != tokens || gguf_type_bytes(list->type()) == 0) {
        header.reject(ErrorCode::kInvalidFile, key, "an array of {} numbers belongs here, one for each token", tokens);
    }
    return list;
}

class GgufTokenizerReader {
  public:
    explicit GgufTokenizerReader(const GgufHeader& header) : header_(header) {
        file_.label = header.label();
        file_.rest = Json::object();
        file_.rest["model"] = Json::object();
        const GgufValue* tokens = header.find(kGgufTokens);
        if (tokens == nullptr || !tokens->is_array() || tokens->type() != GgufType::kString) {
            header.reject(ErrorCode::kInvalidFile, kGgufTokens, "an array of strings belongs here");
        }
        if (tokens->count() > static_cast<uint64_t>(kMaxTokenId)) {
            header.reject(ErrorCode::kInvalidFile, kGgufTokens, "{} tokens; at most {} are possible", tokens->count(),
                          kMaxTokenId);
        }
        read_tokens(*tokens, beside_tokens(header, kTypes));
    }

    TokenizerFile read() {
        const std::string model(header_.text(kModel));
        if (model == "gpt2") {
            read_byte_level();
        } else if (model == "llama") {
            read_sentencepiece();
        } else if (model == "gemma4") {
            read_gemma();
        } else {
            header_.reject(ErrorCode::kUnsupported, kModel, "\"{}\" is not supported, only gpt2, llama and gemma4",
                           GgufHeader::printable(model));
        }
        return std::move(file_);
    }

  private:
    // ---- tokens

    void read_tokens(const GgufValue& tokens, const GgufValue* types) {
        file_.vocabulary.reserve(tokens.count(), 8 * tokens.count());
        Json added = Json::array();
        TokenId id = 0;
        tokens.each_text([&](std::string_view bytes) {
            const std::string content = utf8::is_valid(bytes) ? std::string(bytes) : utf8::sanitize(bytes);
            const int64_t type = types == nullptr ? 1 : types->integer(static_cast<uint64_t>(id)).value_or(0);
            types_.push_back(static_cast<TokenType>(type));
            // Of two that read the same the first can be made of text; the other is found by its id alone.
            if (!content.empty()) file_.vocabulary.add(content, id);
            if (is_added(types_.back()) && file_.vocabulary.find(content) == id) {
                Json token = {{"id", id}, {"content", content}};
                token["special"] = types_.back() != TokenType::kUserDefined;
                token["normalized"] = false;
                added.push_back(std::move(token));
            }
            ++id;
        });
        file_.rest["added_tokens"] = std::move(added);
    }

    static bool is_added(TokenType type) {
        return type == TokenType::kUnknown || type == TokenType::kControl || type == TokenType::kUserDefined;
    }

    // ---- the three models

    void read_byte_level() {
        const std::string name(header_.text_or(kPattern, ""));
        const GgufPattern* pattern = find_gguf_pattern(name);
        if (pattern == nullptr) {
            header_.reject(ErrorCode::kUnsupported, kPattern, "\"{}\" is not known; these are: {}",
                           GgufHeader::printable(name), gguf_pattern_names());
        }
        if (name.empty()) {
            log_warning("{}: {} is missing, so that text may be cut otherwise than the publisher does it",
                        header_.label(), kPattern);
        }
        read_merges();
        file_.rest["model"]["ignore_merges"] = pattern->ignores_merges;
        Json steps = Json::array();
        for (const std::string_view pass : pattern->passes) steps.push_back(split_at(pass));
        Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
        steps.push_back(bytes);
        file_.rest["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
        file_.rest["decoder"] = std::move(bytes);
        add_ends(pattern->adds_bos);
    }

    void read_sentencepiece() {
        const bool prefix = header_.boolean_or("tokenizer.ggml.add_space_prefix", true);
        Json steps = Json::array();
        if (prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kMark}});
        steps.push_back(replace(" ", kMark));
        file_.rest["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
        read_scores();
        decode_marks(prefix);
        add_ends(true);
    }

    void read_gemma() {
        file_.rest["normalizer"] = replace(" ", kMark);
        file_.rest["pre_tokenizer"] = split_at("\n+");
        read_merges();
        decode_marks(false);
        add_ends(true, true);
    }

    static Json split_at(std::string_view pattern) {
        Json split = {{"type", "Split"}, {"behavior", "Isolated"}};
        split["pattern"]["Regex"] = pattern;
        return split;
    }

    static Json replace(std::string_view what, std::string_view by) {
        Json step = {{"type", "Replace"}, {"content", by}};
        step["pattern"]["String"] = what;
        return step;
    }

    // Marks are spaces again, bytes are characters, and a space that was put in front goes.
    void decode_marks(bool strip) {
        Json& model = file_.rest["model"];
        model["byte_fallback"] = true;
        for (size_t id = 0; id < types_.size(); ++id) {
            if (types_[id] == TokenType::kUnknown) {
                model["unk_token"] = std::string(content_of(static_cast<TokenId>(id)));
            }
        }
        Json steps = Json::array();
        steps.push_back(replace(kMark, " "));
        steps.push_back({{"type", "ByteFallback"}});
        steps.push_back({{"type", "Fuse"}});
        if (strip) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
        file_.rest["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(steps)}};
    }

    // ---- merges

    std::string_view content_of(TokenId id) const { return file_.vocabulary.content(id).value_or(std::string_view()); }

    // "left right": the first space behind the first byte parts them.
    void read_merges() {
        const GgufValue* merges = header_.find(kMerges);
        if (merges == nullptr || !merges->is_array() || merges->type() != GgufType::kString) {
            header_.reject(ErrorCode::kInvalidFile, kMerges, "an array of strings belongs here");
        }
        uint32_t rank = 0;
        std::string joined;
        merges->each_text([&](std::string_view merge) {
            const size_t space = merge.find(' ', 1);
            const auto invalid = [&](std::string_view what) {
                header_.reject(ErrorCode::kInvalidFile, kMerges, "item {}, {}, {}", rank, in_quotes(merge), what);
            };
            if (space == std::string_view::npos) invalid("is not two tokens with a space between them");
            const auto left = file_.vocabulary.find(merge.substr(0, space));
            const auto right = file_.vocabulary.find(merge.substr(space + 1));
            joined.assign(merge.substr(0, space)).append(merge.substr(space + 1));
            const auto result = file_.vocabulary.find(joined);
            if (!left || !right || !result) invalid("joins or makes what is no token");
            file_.merges.push_back({*left, *right, *result, rank++});
        });
    }

    // A merge for every way to cut a token in two: the better the score of what it makes, the earlier, and among equal
    // ones from left to right.
    void read_scores() {
        const GgufValue* scores = beside_tokens(header_, kScores);
        if (scores == nullptr) header_.reject(ErrorCode::kInvalidFile, kScores, "this key is missing");
        std::map<double, uint32_t, std::greater<>> ranks;
        for (uint64_t i = 0; i < scores->count(); ++i) ranks[score(*scores, i)] = 0;
        uint32_t rank = 0;
        for (auto& [value, place] : ranks) place = rank++;
        for (TokenId id = 0; id < file_.vocabulary.id_limit(); ++id) {
            const TokenType type = types_[static_cast<size_t>(id)];
            if (type != TokenType::kNormal && type != TokenType::kUserDefined) continue;
            add_cuts(id, ranks.at(score(*scores, static_cast<uint64_t>(id))));
        }
    }

    double score(const GgufValue& scores, uint64_t index) const {
        const double value = scores.number(index).value_or(0);
        if (std::isnan(value)) header_.reject(ErrorCode::kInvalidFile, kScores, "item {} is not a number", index);
        return value;
    }

    void add_cuts(TokenId id, uint32_t rank) {
        const std::string_view content = content_of(id);
        for (size_t cut = 0; cut < content.size();) {
            cut += utf8::length_from_lead(content[cut]);
            if (cut == content.size()) return;
            const auto left = part(content.substr(0, cut)), right = part(content.substr(cut));
            if (left && right) file_.merges.push_back({*left, *right, id, rank});
        }
    }

    // A token, or a character that is none, which a text begins from nevertheless.
    std::optional<TokenId> part(std::string_view content) {
        if (const auto id = file_.vocabulary.find(content)) return id;
        if (utf8::decode(content, 0).length != content.size()) return std::nullopt;
        const auto [place, fresh] = fragments_.try_emplace(std::string(content), file_.fragments.size());
        if (fresh) file_.fragments.emplace_back(content);
        return TokenizerFile::fragment_id(place->second);
    }

    // ---- around a text

    void add_ends(bool bos_by_default, bool bos_always = false) {
        Json pieces = Json::array();
        Json tokens = Json::object();
        const auto add = [&](std::string_view key) {
            const int64_t id = header_.integer_or(key, -1);
            if (id < 0 || id >= file_.vocabulary.id_limit()) return;
            const std::string name(key);
            pieces.push_back({{"SpecialToken", {{"id", name}}}});
            tokens[name] = {{"ids", Json::array({id})}};
        };
        if (bos_always || header_.boolean_or(kAddBos, bos_by_default)) add("tokenizer.ggml.bos_token_id");
        pieces.push_back({{"Sequence", {{"id", "A"}}}});
        if (header_.boolean_or(kAddEos, false)) add("tokenizer.ggml.eos_token_id");
        file_.rest["post_processor"] = {{"type", "TemplateProcessing"}, {"single", pieces}, {"special_tokens", tokens}};
    }

    const GgufHeader& header_;
    TokenizerFile file_;
    std::vector<TokenType> types_;
    std::map<std::string, size_t> fragments_;  // in file_.fragments
};

}  // namespace

bool has_gguf_tokenizer(const GgufHeader& header) {
    return header.text_or(kModel, "none") != "none" && header.has(kGgufTokens);
}

TokenizerFile read_gguf_tokenizer(const GgufHeader& header) {
    return GgufTokenizerReader(header).read();
}

}  // namespace sluice
