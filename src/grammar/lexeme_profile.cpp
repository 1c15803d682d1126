#include "grammar/lexeme_profile.h"

#include <algorithm>
#include <map>

namespace sluice::grammar {

namespace {

// Of one automaton; past it all are made anew.
constexpr size_t kProfileBytes = size_t{64} << 20;

class ProfileBuilder {
  public:
    ProfileBuilder(const Vocabulary& vocabulary, const Lexeme& lexeme, bool counted)
        : vocabulary_(vocabulary), lexeme_(lexeme), counted_(counted) {}

    LexemeProfile build(const LexemeState& from) {
        const TokenTree& tree = vocabulary_.tree();
        std::vector<LexemeState> path(tree.depth() + 1);
        path[0] = {.state = from.state, .partial = from.partial};
        std::vector<uint32_t> counts(tree.depth() + 1);
        const TokenTree::Node* first = tree.nodes().data();
        walk(tree, 0, static_cast<uint32_t>(tree.nodes().size()), [&](const TokenTree::Node& node) {
            LexemeState at = path[node.depth - 1u];
            const bool opened = at.partial == Partial::unopened();
            if (!lexeme_.step(at, node.byte)) return false;
            const bool character = counted_ && at.partial.between() && !opened;
            counts[node.depth] = counts[node.depth - 1u] + (character ? 1 : 0);
            path[node.depth] = at;
            add(tree, node, at, counts[node.depth]);
            const auto index = static_cast<uint32_t>(&node - first);
            if (lexeme_.ends(at) && node.subtree_end > index + 1) {
                profile_.exits.push_back({index, counts[node.depth]});
                profile_.most_exit_characters = std::max(profile_.most_exit_characters, counts[node.depth]);
            }
            return !at.partial.closed();
        });
        for (LexemeProfile::Group& group : profile_.groups) group.tokens.pack(vocabulary_.size());
        return std::move(profile_);
    }

  private:
    void add(const TokenTree& tree, const TokenTree::Node& node, const LexemeState& at, uint32_t count) {
        if (node.own_tokens == 0) return;
        LexemeProfile::Group& group = profile_.groups[group_of(at, count)];
        for (const TokenId id : tree.own_tokens(node)) group.tokens.add(id);
    }

    // Most tokens end between two characters, where the state and the count tell the group.
    size_t group_of(const LexemeState& at, uint32_t count) {
        if (!counted_ || at.partial.closed()) return simple_group(CharAutomaton::kDead, count);
        if (at.partial.between()) return simple_group(at.state, count);
        std::vector<uint32_t> targets;
        any_target(lexeme_.automaton(), at.state, at.partial, [&](uint32_t target) {
            targets.push_back(target);
            return false;
        });
        std::ranges::sort(targets);
        targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
        if (targets.size() == 1) return simple_group(targets.front(), count + 1);
        const auto [known, fresh] = forked_.try_emplace({count + 1, targets}, profile_.groups.size());
        if (fresh) profile_.groups.push_back({std::move(targets), count + 1});
        return known->second;
    }

    size_t simple_group(uint32_t target, uint32_t count) {
        const uint64_t key = uint64_t{count} << 32 | target;
        if (key == last_key_) return last_group_;
        const auto [known, fresh] = simple_.try_emplace(key, profile_.groups.size());
        if (fresh) {
            profile_.groups.push_back({.count = count});
            if (target != CharAutomaton::kDead) profile_.groups.back().targets.push_back(target);
        }
        last_key_ = key;
        return last_group_ = known->second;
    }

    const Vocabulary& vocabulary_;
    const Lexeme& lexeme_;
    bool counted_;
    LexemeProfile profile_;
    std::unordered_map<uint64_t, size_t> simple_;  // by count and state, kDead standing for none
    std::map<std::pair<uint32_t, std::vector<uint32_t>>, size_t> forked_;
    uint64_t last_key_ = UINT64_MAX;
    size_t last_group_ = 0;
};

size_t bytes_of(const LexemeProfile& profile) {
    size_t bytes = sizeof(profile) + profile.exits.size() * sizeof(LexemeProfile::Exit);
    for (const LexemeProfile::Group& group : profile.groups) bytes += sizeof(group) + group.tokens.bytes();
    return bytes;
}

}  // namespace

void TokenSet::pack(size_t vocabulary) {
    const size_t words = (vocabulary + 63) / 64;
    if (list_.size() < words) {
        list_.shrink_to_fit();
        return;
    }
    words_.resize(words);
    for (const TokenId id : list_)
        words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
    list_ = {};
}

void TokenSet::add_to(std::span<uint64_t> words) const {
    for (size_t i = 0; i < words_.size(); ++i) words[i] |= words_[i];
    for (const TokenId id : list_) words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}

std::shared_ptr<const LexemeProfile> LexemeProfiles::find(const Vocabulary& vocabulary, const LexemeState& at,
                                                          bool counted) const {
    const Key key{at.state, at.partial.packed(), counted};
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const LexemeProfile>& found = profiles_[key];
    if (found != nullptr) return found;
    const Lexeme unbounded(automaton_, spelling_);
    auto made = std::make_shared<const LexemeProfile>(ProfileBuilder(vocabulary, unbounded, counted).build(at));
    bytes_ += bytes_of(*made);
    if (bytes_ > kProfileBytes) {
        bytes_ = bytes_of(*made);
        profiles_.clear();
        return profiles_[key] = std::move(made);
    }
    return found = std::move(made);
}

}  // namespace sluice::grammar
