#pragma once

// The tokens of a tokenizer by their bytes.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice::grammar {

// A tree of the bytes of all tokens, laid out so that a node's subtree follows it. Immutable.
class TokenTree {
  public:
    struct Node {
        uint32_t subtree_end;   // the first node past the subtree
        uint32_t tokens_begin;  // of tokens(): those that end at this node, then those of the subtree
        uint32_t own_tokens;
        uint16_t depth;  // 1 for a token's first byte
        uint8_t byte;
    };

    TokenTree() = default;
    // Tokens by id; those without bytes are not part of it.
    explicit TokenTree(const std::vector<std::string>& tokens);

    const std::vector<Node>& nodes() const { return nodes_; }
    std::span<const TokenId> own_tokens(const Node& node) const {
        return {tokens_.data() + node.tokens_begin, node.own_tokens};
    }
    size_t depth() const { return depth_; }  // bytes of the longest token

  private:
    std::vector<Node> nodes_;
    std::vector<TokenId> tokens_;
    size_t depth_ = 0;
};

// Visits the nodes from `begin` to before `end` from the root down: step(node) says whether its subtree is of interest.
template <typename Step>
void walk(const TokenTree& tree, uint32_t begin, uint32_t end, const Step& step) {
    const std::vector<TokenTree::Node>& nodes = tree.nodes();
    for (uint32_t i = begin; i < end;) i = step(nodes[i]) ? i + 1 : nodes[i].subtree_end;
}

// What a grammar must know of a tokenizer.
class Vocabulary {
  public:
    Vocabulary(const Tokenizer& tokenizer, std::vector<TokenId> end_tokens);

    size_t size() const { return bytes_.size(); }
    const TokenTree& tree() const { return tree_; }
    // Empty for a token that no text is spelled with: one that is special, or added and no white space.
    std::string_view bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }
    bool has(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < bytes_.size(); }
    const std::vector<TokenId>& end_tokens() const { return end_tokens_; }
    bool ends(TokenId id) const;

    struct Added {
        std::string content;
        TokenId id;
    };
    // Tokens that stand for themselves and not for text, the longest first.
    const std::vector<Added>& added() const { return added_; }
    // The text that the token adds to an answer, added or not.
    std::string_view text(TokenId id) const;

  private:
    std::vector<std::string> bytes_;
    std::vector<Added> added_;
    std::unordered_map<TokenId, size_t> added_at_;
    std::vector<TokenId> end_tokens_;
    TokenTree tree_;
};

}  // namespace sluice::grammar
