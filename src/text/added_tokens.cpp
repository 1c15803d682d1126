#include "text/added_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "text/tokenizer_config.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

void AddedTokens::Trie::insert(std::string_view key, size_t value) {
    if (key.empty()) return;
    begins_[static_cast<uint8_t>(key[0])] = true;
    size_t node = 0;
    for (const char byte : key) {
        auto& children = nodes_[node].children;
        const auto at = std::lower_bound(children.begin(), children.end(), byte,
                                         [](const auto& child, char b) { return child.first < b; });
        if (at != children.end() && at->first == byte) {
            node = at->second;
        } else {
            const size_t child = nodes_.size();
            children.insert(at, {byte, child});
            nodes_.emplace_back();
            node = child;
        }
    }
    if (nodes_[node].value == kNoValue) nodes_[node].value = value;
}

template <typename Accept>
std::pair<size_t, size_t> AddedTokens::Trie::longest(std::string_view text, size_t at, Accept accept) const {
    std::pair<size_t, size_t> best = {0, 0};
    size_t node = 0;
    for (size_t length = 1; at + length <= text.size(); ++length) {
        const auto& children = nodes_[node].children;
        const char byte = text[at + length - 1];
        const auto child = std::lower_bound(children.begin(), children.end(), byte,
                                            [](const auto& entry, char b) { return entry.first < b; });
        if (child == children.end() || child->first != byte) break;
        node = child->second;
        const size_t value = nodes_[node].value;
        if (value != kNoValue && accept(value, length)) best = {value, length};
    }
    return best;
}

AddedToken AddedTokens::parse_one(const TokenizerField& field, const TokenizerField& id_field, int64_t id) {
    if (id < 0 || id > kMaxTokenId) id_field.invalid(fmt::format("is {}; ids are 0 to {}", id, kMaxTokenId));
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = field.at("content").text();
    token.special = field.flag_or("special", false);
    token.normalized = field.flag_or("normalized", !token.special);
    token.single_word = field.flag_or("single_word", false);
    token.lstrip = field.flag_or("lstrip", false);
    token.rstrip = field.flag_or("rstrip", false);
    return token;
}

void AddedTokens::check_listed(const TokenizerField& field, const AddedToken& token) const {
    const TokenizerField id_field = field.at("id");
    if (const AddedToken* same = find(token.content); same != nullptr && same->id != token.id) {
        id_field.invalid(
            fmt::format("is {}, but {} is there before with id {}", token.id, in_quotes(token.content), same->id));
    }
    if (const AddedToken* other = find(token.id); other != nullptr && other->content != token.content) {
        id_field.invalid(fmt::format("is {}, which {} has already", token.id, in_quotes(other->content)));
    }
    if (const auto id = vocabulary_->find(token.content); id && *id != token.id) {
        id_field.invalid(
            fmt::format("is {}, but model.vocab gives {} the id {}", token.id, in_quotes(token.content), *id));
    }
    if (const auto content = vocabulary_->content(token.id); content && *content != token.content) {
        id_field.invalid(fmt::format("is {}, which {} of model.vocab has", token.id, in_quotes(*content)));
    }
}

void AddedTokens::put(AddedToken token) {
    id_limit_ = std::max(id_limit_, token.id + 1);
    token.blank = !token.special && utf8::leading_space_end(token.content) == token.content.size();
    const auto [known, fresh] = by_content_.try_emplace(token.content, tokens_.size());
    if (fresh) {
        by_id_.emplace(token.id, tokens_.size());
        tokens_.push_back(std::move(token));
    } else {
        // A token that was special once stays so in the reference.
        token.special = token.special || tokens_[known->second].special;
        token.blank = token.blank && !token.special;
        tokens_[known->second] = std::move(token);
    }
}

void AddedTokens::add_listed(const TokenizerField& list) {
    for (const TokenizerField& field : list.items()) {
        AddedToken token = parse_one(field, field.at("id"), field.at("id").integer());
        if (token.content.empty()) continue;
        check_listed(field, token);
        put(std::move(token));
    }
}

// Tokens that are there keep their ids whatever the file says; so does the reference.
TokenId AddedTokens::configured_id(const AddedToken& token) const {
    if (const AddedToken* known = find(token.content)) return known->id;
    if (const auto id = vocabulary_->find(token.content)) return *id;
    const bool taken = find(token.id) != nullptr || vocabulary_->content(token.id);
    return taken ? std::max(id_limit_, vocabulary_->id_limit()) : token.id;
}

void AddedTokens::add_configured(const TokenizerField& config) {
    std::map<int64_t, AddedToken> listed;  // in the order of their ids
    if (config.has("added_tokens_decoder")) {
        for (const auto& [key, field] : config.at("added_tokens_decoder").members()) {
            int64_t id = -1;
            const auto end = std::from_chars(key.data(), key.data() + key.size(), id).ptr;
            if (end != key.data() + key.size()) field.invalid("must have a whole number, its id, for a name");
            listed.emplace(id, parse_one(field, field, id));
        }
    }
    for (auto& [id, token] : listed) {
        if (token.content.empty()) continue;
        token.id = configured_id(token);
        put(std::move(token));
    }
    for (const TokenizerField& field : special_token_fields(config)) {
        AddedToken token{.content = field.token_content(), .special = true};
        const auto id = vocabulary_->find(token.content);
        if (!id || find(token.content) != nullptr) continue;
        token.id = *id;
        if (field.is_object()) {
            token.lstrip = field.flag_or("lstrip", false);
            token.rstrip = field.flag_or("rstrip", false);
            token.single_word = field.flag_or("single_word", false);
            token.normalized = field.flag_or("normalized", false);
        }
        put(std::move(token));
    }
}

void AddedTokens::prepare(const Normalizer& normalizer) {
    PatternScratch scratch;
    for (size_t index = 0; index < tokens_.size(); ++index) {
        const AddedToken& token = tokens_[index];
        if (token.normalized) {
            normalized_.insert(normalizer.apply(token.content, scratch), index);
        } else {
            raw_.insert(token.content, index);
        }
    }
}

std::vector<AddedTokens::Cut> AddedTokens::cuts(std::string_view text, const TrustedRanges& trusted,
                                                const Trie& trie) const {
    std::vector<Cut> cuts;
    const auto longest = [&](size_t at) {
        const size_t end = trusted.end_at(at);
        return trie.longest(text, at,
                            [&](size_t index, size_t length) { return at + length <= end || tokens_[index].blank; });
    };
    size_t covered = 0;
    size_t at = 0;
    while (at < text.size()) {
        const auto [index, length] = trie.may_begin(text[at]) ? longest(at) : std::pair<size_t, size_t>();
        if (length == 0) {
            ++at;
            continue;
        }
        const AddedToken& token = tokens_[index];
        size_t begin = at;
        size_t end = at + length;
        // The search goes on behind the content: also of a match that single_word refuses, and in the white space that
        // rstrip takes.
        at = end;
        if (token.single_word) {
            size_t before = begin;
            while (before > 0 && (static_cast<unsigned char>(text[--before]) & 0xC0) == 0x80) {
            }
            const bool word_before = begin > 0 && utf8::is_word(utf8::decode(text, before).value);
            const bool word_after = end < text.size() && utf8::is_word(utf8::decode(text, end).value);
            if (word_before || word_after) continue;
        }
        if (token.lstrip && covered < begin) {
            begin = covered + utf8::trailing_space_begin(text.substr(covered, begin - covered));
        }
        if (token.rstrip) end += utf8::leading_space_end(text.substr(end));
        if (covered < begin) cuts.push_back({covered, begin, WordList::kWord});
        cuts.push_back({begin, end, token.id});
        covered = end;
    }
    if (covered < text.size()) cuts.push_back({covered, text.size(), WordList::kWord});
    return cuts;
}

// A text between two tokens, normalized.
struct AddedTokens::Piece {
    std::string text;
    TrustedRanges trusted;
};

namespace {

// A character that the text does not have and that no normalizer changes: one of those that Unicode keeps for the use
// inside of programs. Empty where the text has them all.
std::string unused_mark(std::string_view text) {
    for (char32_t plane = 16; plane > 0; --plane) {
        for (const char32_t low : {0xFFFF, 0xFFFE}) {
            std::string mark;
            utf8::append(mark, plane * 0x10000 + low);
            if (text.find(mark) == std::string_view::npos) return mark;
        }
    }
    return {};
}

}  // namespace

AddedTokens::Piece AddedTokens::normalized_piece(std::string_view text, const TrustedRanges& trusted,
                                                 const Normalizer& normalizer, PatternScratch& scratch) const {
    // Marks show where the borders of trusted text went.
    const std::string mark = normalized_.empty() ? std::string() : unused_mark(text);
    std::string marked;
    size_t copied = 0;
    size_t marks = 0;
    const auto mark_at = [&](size_t border) {
        if (border == 0 || border >= text.size() || mark.empty()) return;
        marked += text.substr(copied, border - copied);
        marked += mark;
        copied = border;
        ++marks;
    };
    bool begins_trusted = false;
    trusted.for_each_within(0, text.size(), [&](size_t begin, size_t end) {
        begins_trusted = begins_trusted || begin == 0;
        mark_at(begin);
        mark_at(end);
    });
    marked += text.substr(copied);
    const std::string rewritten = normalizer.apply(marked, scratch);

    Piece piece;
    bool inside = begins_trusted;
    for (size_t at = 0; at <= rewritten.size();) {
        const size_t end = marks == 0 ? rewritten.size() : std::min(rewritten.find(mark, at), rewritten.size());
        const size_t begin = piece.text.size();
        piece.text.append(rewritten, at, end - at);
        if (inside) piece.trusted.add(begin, piece.text.size());
        inside = !inside;
        at = end + std::max<size_t>(mark.size(), 1);
    }
    return piece;
}

void AddedTokens::split(std::string_view text, const TrustedRanges& trusted, const Normalizer& normalizer,
                        PatternScratch& scratch, WordList& words) const {
    for (const Cut& outer : cuts(text, trusted, raw_)) {
        if (outer.token != WordList::kWord) {
            words.add_token(outer.token);
            continue;
        }
        std::string_view rest = text.substr(outer.begin, outer.end - outer.begin);
        Piece piece;
        trusted.for_each_within(outer.begin, outer.end,
                                [&](size_t begin, size_t end) { piece.trusted.add(begin, end); });
        if (!normalizer.changes_nothing()) {
            piece = normalized_piece(rest, piece.trusted, normalizer, scratch);
            rest = piece.text;
        }
        for (const Cut& inner : cuts(rest, piece.trusted, normalized_)) {
            if (inner.token == WordList::kWord) {
                words.add_word(rest.substr(inner.begin, inner.end - inner.begin));
            } else {
                words.add_token(inner.token);
            }
        }
    }
}

const AddedToken* AddedTokens::find(TokenId id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
    const auto found = by_content_.find(std::string(content));
    return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace sluice
