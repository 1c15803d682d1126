#include "grammar/vocabulary.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace sluice::grammar {

namespace {

constexpr size_t kLongestToken = 1024;  // bytes; none that is longer is ever allowed

bool is_white_space(std::string_view text) {
    return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

size_t common_prefix(std::string_view a, std::string_view b) {
    return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

TokenTree::TokenTree(const std::vector<std::string>& tokens) {
    for (size_t id = 0; id < tokens.size(); ++id) {
        if (!tokens[id].empty() && tokens[id].size() <= kLongestToken) tokens_.push_back(static_cast<TokenId>(id));
    }
    const auto text = [&](TokenId id) -> std::string_view { return tokens[static_cast<size_t>(id)]; };
    std::ranges::stable_sort(tokens_, {}, text);
    std::vector<uint32_t> open;  // the nodes from the root to where the token before ended
    const auto close = [&](size_t depth) {
        for (; open.size() > depth; open.pop_back()) {
            nodes_[open.back()].subtree_end = static_cast<uint32_t>(nodes_.size());
        }
    };
    std::string_view before;
    for (uint32_t i = 0; i < tokens_.size(); ++i) {
        const std::string_view token = text(tokens_[i]);
        const size_t shared = common_prefix(before, token);
        close(shared);
        for (size_t at = shared; at < token.size(); ++at) {
            open.push_back(static_cast<uint32_t>(nodes_.size()));
            nodes_.push_back({.subtree_end = 0,
                              .tokens_begin = i,
                              .own_tokens = 0,
                              .depth = static_cast<uint16_t>(at + 1),
                              .byte = static_cast<uint8_t>(token[at])});
        }
        ++nodes_[open.back()].own_tokens;
        depth_ = std::max(depth_, token.size());
        before = token;
    }
    close(0);
}

Vocabulary::Vocabulary(const Tokenizer& tokenizer, std::vector<TokenId> end_tokens)
    : bytes_(tokenizer.vocabulary_size()), end_tokens_(std::move(end_tokens)) {
    for (size_t i = 0; i < bytes_.size(); ++i) {
        const auto id = static_cast<TokenId>(i);
        std::string bytes = tokenizer.token_bytes(id);
        if (tokenizer.is_special(id) || (tokenizer.is_added(id) && !is_white_space(bytes))) {
            if (!bytes.empty()) added_.push_back({std::move(bytes), id});
        } else if (!ends(id)) {
            bytes_[i] = std::move(bytes);
        }
    }
    for (const TokenId id : end_tokens_) {
        if (!has(id)) fail(ErrorCode::kUsage, "end token {} is outside the vocabulary of {}", id, bytes_.size());
    }
    std::ranges::stable_sort(added_, std::ranges::greater(), [](const Added& a) { return a.content.size(); });
    for (size_t i = 0; i < added_.size(); ++i) added_at_[added_[i].id] = i;
    tree_ = TokenTree(bytes_);
}

bool Vocabulary::ends(TokenId id) const {
    return std::ranges::find(end_tokens_, id) != end_tokens_.end();
}

std::string_view Vocabulary::text(TokenId id) const {
    const auto at = added_at_.find(id);
    return at == added_at_.end() ? bytes(id) : std::string_view(added_[at->second].content);
}

}  // namespace sluice::grammar
