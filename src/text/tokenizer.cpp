#include "sluice/tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "gguf/gguf_files.h"
#include "text/gguf_tokenizer.h"
#include "text/tiktoken_file.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_field.h"
#include "text/tokenizer_impl.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestFile = size_t{256} << 20;  // the largest published ones have 33 MB
constexpr size_t kLargestText = size_t{1} << 30;    // bytes; positions inside fit 32 bits

void check_size(size_t bytes) {
    if (bytes <= kLargestText) return;
    fail(ErrorCode::kUsage, "a text of {} bytes is too long to encode; the limit is {}", bytes, kLargestText);
}

// The words of one text repeat; what one became is copied from where it stands among the ids.
class SeenWords {
  public:
    SeenWords(const BytePairEncoding& model, std::vector<TokenId>& ids) : model_(model), ids_(ids) {}

    void encode(std::string_view word) {
        if (word.size() > kLongest) return model_.encode(word, scratch_, ids_);
        const auto [entry, fresh] = seen_.try_emplace(word, Range{ids_.size(), 0});
        if (fresh) {
            model_.encode(word, scratch_, ids_);
            entry->second.count = ids_.size() - entry->second.begin;
        } else {
            const Range range = entry->second;
            ids_.resize(ids_.size() + range.count);
            std::copy_n(ids_.begin() + static_cast<ptrdiff_t>(range.begin), range.count,
                        ids_.end() - static_cast<ptrdiff_t>(range.count));
        }
    }

  private:
    static constexpr size_t kLongest = 64;  // bytes; longer words seldom come twice
    struct Range {
        size_t begin;
        size_t count;
    };
    const BytePairEncoding& model_;
    std::vector<TokenId>& ids_;
    BytePairEncoding::Scratch scratch_;
    std::unordered_map<std::string_view, Range> seen_;
};

// The member of the document, or a JSON null where it has none.
TokenizerField member_or_null(const TokenizerField& document, std::string_view key) {
    static const nlohmann::json kNull;
    return document.has(key) ? document.at(key) : TokenizerField(kNull, document.place());
}

TokenizerFile parse_file(std::string_view json, const std::string& label) {
    if (json.size() > kLargestFile) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes are no tokenizer; the limit is {}", label, json.size(),
             kLargestFile);
    }
    TokenizerFile file = TokenizerFile::parse(json, label);
    const TokenizerField document(file.rest, label + ": ");
    if (document.has("version") && document.at("version").text() != "1.0") {
        document.at("version").unsupported("must be \"1.0\"");
    }
    return file;
}

}  // namespace

Tokenizer::Impl::Impl(TokenizerFile file, const nlohmann::json& config, const fs::path& folder)
    : label(file.label), model(file), added(model.vocabulary()) {
    const TokenizerField document(file.rest, label + ": ");
    normalizer = Normalizer::parse(member_or_null(document, "normalizer"));
    const TokenizerField configured(config, (folder / "tokenizer_config.json").string() + ": ");
    if (document.has("added_tokens")) added.add_listed(document.at("added_tokens"));
    added.add_configured(configured);
    added.prepare(normalizer);
    pre_tokenizer = PreTokenizer::parse(member_or_null(document, "pre_tokenizer"));
    post_processor = PostProcessor::parse(member_or_null(document, "post_processor"), id_limit());
    post_processor.configure(configured, [this](std::string_view content) { return find(content); });
    decoder = TokenDecoder::parse(member_or_null(document, "decoder"));
}

TokenId Tokenizer::Impl::id_limit() const {
    return std::max(model.vocabulary().id_limit(), added.id_limit());
}

std::optional<TokenId> Tokenizer::Impl::find(std::string_view content) const {
    if (const AddedToken* token = added.find(content)) return token->id;
    return model.vocabulary().find(content);
}

std::string_view Tokenizer::Impl::content(TokenId id) const {
    if (id < 0 || id >= id_limit()) {
        fail(ErrorCode::kUsage, "{}: token id {} is outside the vocabulary of {} ids", label, id, id_limit());
    }
    if (const AddedToken* token = added.find(id)) return token->content;
    return model.vocabulary().content(id).value_or(std::string_view());
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const fs::path& path) {
    if (const std::optional<fs::path> gguf = find_gguf_text(path)) {
        const GgufFile file = GgufFile::open(*gguf);
        return Tokenizer(std::make_unique<Impl>(read_gguf_tokenizer(file.header), nlohmann::json::object(), *gguf));
    }
    std::error_code unreadable;  // which reading the file then reports
    if (!fs::is_directory(path, unreadable)) return parse(read_text_file(path, kLargestFile), path.string());
    const nlohmann::json config = read_tokenizer_config(path);
    const fs::path ranks = path / "tiktoken.model";
    const fs::path file = path / "tokenizer.json";
    const bool from_ranks = !fs::exists(file) && fs::exists(ranks);
    const std::string text = read_text_file(from_ranks ? ranks : file, kLargestFile);
    return Tokenizer(std::make_unique<Impl>(
        from_ranks ? parse_tiktoken_file(text, ranks.string(), config) : parse_file(text, file.string()), config,
        path));
}

bool Tokenizer::is_in(const fs::path& folder) {
    if (const std::optional<fs::path> gguf = find_gguf_text(folder)) {
        return has_gguf_tokenizer(GgufFile::open(*gguf).header);
    }
    return fs::exists(folder / "tokenizer.json") || fs::exists(folder / "tiktoken.model");
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& label) {
    return Tokenizer(std::make_unique<Impl>(parse_file(json, label), nlohmann::json::object(), fs::path()));
}

std::string text_of(std::span<const PromptSpan> spans) {
    std::string text;
    for (const PromptSpan& span : spans) text += span.text;
    return text;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
    check_size(text.size());
    if (utf8::is_valid(text)) return impl_->encode(text, TrustedRanges::everything(), add_special_tokens);
    return impl_->encode(utf8::sanitize(text), TrustedRanges::everything(), add_special_tokens);
}

std::vector<TokenId> Tokenizer::encode(std::span<const PromptSpan> spans, bool add_special_tokens) const {
    size_t bytes = 0;
    for (const PromptSpan& span : spans) bytes += span.text.size();
    check_size(bytes);
    std::string text = text_of(spans);
    // A character may lie over a border; only what no character makes valid is mended span by span.
    const bool valid = utf8::is_valid(text);
    if (!valid) text.clear();
    TrustedRanges trusted;
    size_t begin = 0;
    for (const PromptSpan& span : spans) {
        if (!valid) text += utf8::sanitize(span.text);
        const size_t end = valid ? begin + span.text.size() : text.size();
        if (span.trusted) trusted.add(begin, end);
        begin = end;
    }
    return impl_->encode(text, trusted, add_special_tokens);
}

std::vector<TokenId> Tokenizer::Impl::encode(std::string_view text, const TrustedRanges& trusted,
                                             bool add_special_tokens) const {
    PatternScratch scratch;
    WordList words;
    added.split(text, trusted, normalizer, scratch, words);
    pre_tokenizer.apply(words, scratch);

    std::vector<TokenId> ids;
    SeenWords seen(model, ids);
    size_t begin = 0;
    for (const WordList::Item& item : words.items) {
        if (item.token == WordList::kWord) {
            seen.encode(std::string_view(words.text).substr(begin, item.end - begin));
        } else {
            ids.push_back(item.token);
        }
        begin = item.end;
    }
    return add_special_tokens ? post_processor.apply(std::move(ids)) : ids;
}

std::string Tokenizer::decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const {
    StreamDecoder decoder(*this, skip_special_tokens);
    std::string text;
    for (const TokenId id : ids) text += decoder.push(id);
    text += decoder.finish();
    return text;
}

std::string Tokenizer::token_bytes(TokenId id) const {
    return impl_->decoder.bytes_of(impl_->content(id));
}

bool Tokenizer::is_special(TokenId id) const {
    const AddedToken* token = impl_->added.find(id);
    return token != nullptr && token->special;
}

bool Tokenizer::is_added(TokenId id) const {
    return impl_->added.find(id) != nullptr;
}

std::optional<TokenId> Tokenizer::find(std::string_view token) const {
    return impl_->find(token);
}

size_t Tokenizer::vocabulary_size() const {
    return static_cast<size_t>(impl_->id_limit());
}

}  // namespace sluice
