#include "text/added_tokens.h"

#include <algorithm>

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

std::pair<size_t, size_t> AddedTokens::Trie::longest(std::string_view text, size_t at) const {
    std::pair<size_t, size_t> best = {0, 0};
    size_t node = 0;
    for (size_t length = 1; at + length <= text.size(); ++length) {
        const auto& children = nodes_[node].children;
        const char byte = text[at + length - 1];
        const auto child = std::lower_bound(children.begin(), children.end(), byte,
                                            [](const auto& entry, char b) { return entry.first < b; });
        if (child == children.end() || child->first != byte) break;
        node = child->second;
        if (nodes_[node].value != kNoValue) best = {nodes_[node].value, length};
    }
    return best;
}

AddedToken AddedTokens::parse_one(const TokenizerField& field) {
    AddedToken token;
    const int64_t id = field.at("id").integer();
    if (id < 0 || id > kMaxTokenId) {
        field.at("id").invalid(fmt::format("is {}; ids are 0 to {}", id, kMaxTokenId));
    }
    token.id = static_cast<TokenId>(id);
    token.content = field.at("content").text();
    token.special = field.flag_or("special", false);
    token.normalized = field.flag_or("normalized", !token.special);
    token.single_word = field.flag_or("single_word", false);
    token.lstrip = field.flag_or("lstrip", false);
    token.rstrip = field.flag_or("rstrip", false);
    return token;
}

// False for a token that is left out: without content, or given before.
bool AddedTokens::insert(const TokenizerField& field, AddedToken token, const TokenizerVocabulary& vocabulary) {
    if (token.content.empty()) return false;
    if (const AddedToken* same = find(token.content)) {
        if (same->id == token.id) return false;
        field.at("id").invalid(
            fmt::format("is {}, but {} is there before with id {}", token.id, in_quotes(token.content), same->id));
    }
    if (const AddedToken* other = find(token.id)) {
        field.at("id").invalid(fmt::format("is {}, which {} has already", token.id, in_quotes(other->content)));
    }
    if (const auto id = vocabulary.find(token.content); id && *id != token.id) {
        field.at("id").invalid(
            fmt::format("is {}, but model.vocab gives {} the id {}", token.id, in_quotes(token.content), *id));
    }
    if (const auto content = vocabulary.content(token.id); content && *content != token.content) {
        field.at("id").invalid(fmt::format("is {}, which {} of model.vocab has", token.id, in_quotes(*content)));
    }
    id_limit_ = std::max(id_limit_, token.id + 1);
    by_id_.emplace(token.id, tokens_.size());
    by_content_.emplace(token.content, tokens_.size());
    tokens_.push_back(std::move(token));
    return true;
}

AddedTokens AddedTokens::parse(const TokenizerField& field, const TokenizerVocabulary& vocabulary,
                               const Normalizer& normalizer) {
    AddedTokens added;
    PatternScratch scratch;
    for (const TokenizerField& item : field.items()) {
        if (!added.insert(item, parse_one(item), vocabulary)) continue;
        const size_t index = added.tokens_.size() - 1;
        const AddedToken& token = added.tokens_[index];
        if (token.normalized) {
            added.normalized_.insert(normalizer.apply(token.content, scratch), index);
        } else {
            added.raw_.insert(token.content, index);
        }
    }
    return added;
}

std::vector<AddedTokens::Cut> AddedTokens::cuts(std::string_view text, const Trie& trie) const {
    std::vector<Cut> cuts;
    size_t covered = 0;
    size_t at = 0;
    while (at < text.size()) {
        const auto [index, length] = trie.may_begin(text[at]) ? trie.longest(text, at) : std::pair<size_t, size_t>();
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

void AddedTokens::split(std::string_view text, const Normalizer& normalizer, PatternScratch& scratch,
                        WordList& words) const {
    for (const Cut& outer : cuts(text, raw_)) {
        if (outer.token != WordList::kWord) {
            words.add_token(outer.token);
            continue;
        }
        std::string_view piece = text.substr(outer.begin, outer.end - outer.begin);
        std::string rewritten;
        if (!normalizer.changes_nothing()) {
            rewritten = normalizer.apply(piece, scratch);
            piece = rewritten;
        }
        for (const Cut& inner : cuts(piece, normalized_)) {
            if (inner.token == WordList::kWord) {
                words.add_word(piece.substr(inner.begin, inner.end - inner.begin));
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
