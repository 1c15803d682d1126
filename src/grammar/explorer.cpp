#include "grammar/explorer.h"

#include <algorithm>
#include <tuple>
#include <unordered_set>

#include "base/error.h"

namespace sluice::grammar {

namespace {

// Ways to read one text: more means a grammar so ambiguous that following it would take all memory.
constexpr size_t kMaxPositions = 20'000;
constexpr uint64_t kHashFactor = 0x9E3779B97F4A7C15;

size_t mix(std::initializer_list<uint64_t> parts) {
    uint64_t hash = 0;
    for (const uint64_t part : parts) hash = (hash ^ part) * kHashFactor, hash ^= hash >> 29;
    return hash;
}

void set_bit(std::span<uint64_t> words, TokenId id) {
    words[static_cast<size_t>(id) / 64] |= uint64_t{1} << (static_cast<size_t>(id) % 64);
}

void check_size(const std::vector<Position>& positions) {
    if (positions.size() <= kMaxPositions) return;
    fail(ErrorCode::kUsage, "the grammar can read one text in more than {} ways", kMaxPositions);
}

void drop_doubles(std::vector<Position>& positions) {
    const auto key = [](const Position& p) {
        return std::tuple(p.node, p.stack, p.at.state, p.at.partial.packed(), p.at.count);
    };
    std::ranges::sort(positions, {}, key);
    positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
}

}  // namespace

size_t Explorer::FrameHash::operator()(const Frame& frame) const {
    return mix({uint64_t{frame.below} << 32 | frame.node, frame.count});
}

size_t Explorer::ExitHash::operator()(const ExitKey& key) const {
    return mix({uint64_t{key.lexeme} << 32 | key.state, uint64_t{key.partial} << 32 | key.continuation,
                uint64_t{key.least} << 32 | key.most});
}

// Everywhere that a place leads to before the next byte.
class Explorer::Closure {
  public:
    explicit Closure(Explorer& explorer) : explorer_(explorer), program_(*explorer.program_) {}

    Places run(NodeId node, StackId stack) {
        go(node, stack);
        while (!pending_.empty()) {
            const auto [next, below] = pending_.back();
            pending_.pop_back();
            visit(next, below);
        }
        drop_doubles(places_.positions);
        check_size(places_.positions);
        return std::move(places_);
    }

  private:
    void go(NodeId node, StackId stack) {
        if (visited_.insert(uint64_t{node} << 32 | stack).second) pending_.emplace_back(node, stack);
    }

    void visit(NodeId id, StackId stack) {
        const Node& node = program_.nodes[id];
        switch (node.kind) {
            case Node::Kind::kLexeme: {
                const Lexeme& lexeme = program_.lexemes[node.value].lexeme;
                places_.positions.push_back({id, stack, lexeme.start()});
                if (lexeme.accepts_nothing_read()) go(node.next, stack);
                return;
            }
            case Node::Kind::kToken:
                places_.positions.push_back({id, stack});
                return;
            case Node::Kind::kChoice:
                for (const NodeId choice : node.choices) go(choice, stack);
                return;
            case Node::Kind::kCall: {
                // What has only to return is not come back to, so that lists which call themselves at their end do not
                // pile up.
                const bool last = program_.nodes[node.next].kind == Node::Kind::kReturn;
                go(program_.entries[node.value], last ? stack : explorer_.push({.below = stack, .node = node.next}));
                return;
            }
            case Node::Kind::kReturn:
                if (stack == 0) {
                    places_.complete = true;
                } else {
                    go(explorer_.frames_[stack].node, explorer_.frames_[stack].below);
                }
                return;
            case Node::Kind::kRepeat:
                repeat(id, 0, stack);
                return;
            case Node::Kind::kAgain: {
                const Frame frame = explorer_.frames_[stack];
                // What was repeated without being read counts for nothing: its minimum is 0.
                if (visited_.insert(uint64_t{frame.node | kAgainMark} << 32 | frame.below).second) {
                    repeat(frame.node, frame.count + 1, frame.below);
                }
                return;
            }
        }
    }

    void repeat(NodeId id, uint32_t count, StackId stack) {
        const Node& node = program_.nodes[id];
        if (node.max == kUnbounded) count = std::min(count, node.min);
        if (count >= node.min) go(node.next, stack);
        if (count < node.max) go(node.value, explorer_.push({.below = stack, .node = id, .count = count}));
    }

    static constexpr NodeId kAgainMark = 1u << 31;  // above all nodes

    Explorer& explorer_;
    const Program& program_;
    Places places_;
    std::vector<std::pair<NodeId, StackId>> pending_;
    std::unordered_set<uint64_t> visited_;
};

Explorer::Explorer(std::shared_ptr<const Program> program, std::shared_ptr<const Vocabulary> vocabulary)
    : program_(std::move(program)), vocabulary_(std::move(vocabulary)), frames_(1) {}

size_t Explorer::bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
}

StackId Explorer::push(const Frame& frame) {
    const auto [at, fresh] = stacks_.try_emplace(frame, static_cast<StackId>(frames_.size()));
    if (fresh) {
        frames_.push_back(frame);
        bytes_ += 4 * sizeof(Frame);
    }
    return at->second;
}

uint32_t Explorer::continuation(NodeId node, StackId stack) {
    const auto [at, fresh] =
        continuation_numbers_.try_emplace(uint64_t{node} << 32 | stack, static_cast<uint32_t>(continuations_.size()));
    if (!fresh) return at->second;
    const uint32_t number = at->second;
    continuations_.push_back(std::make_unique<const Places>(Closure(*this).run(node, stack)));
    bytes_ += 128 + continuations_.back()->positions.size() * sizeof(Position);
    return number;
}

Places Explorer::start(NodeId entry) {
    const std::lock_guard lock(mutex_);
    return *continuations_[continuation(entry, 0)];
}

void Explorer::step_byte(const Places& from, uint8_t byte, Places& to) {
    to.positions.clear();
    to.complete = false;
    bool mixed = false;
    for (const Position& position : from.positions) {
        const Node& node = program_->nodes[position.node];
        if (node.kind != Node::Kind::kLexeme) continue;
        const Lexeme& lexeme = program_->lexemes[node.value].lexeme;
        LexemeState at = position.at;
        if (!lexeme.step(at, byte)) continue;
        if (lexeme.goes_on(at)) to.positions.push_back({position.node, position.stack, at});
        if (!lexeme.ends(at)) continue;
        const Places& after = *continuations_[continuation(node.next, position.stack)];
        mixed = mixed || !to.positions.empty();
        to.positions.insert(to.positions.end(), after.positions.begin(), after.positions.end());
        to.complete = to.complete || after.complete;
    }
    if (!mixed) return;
    drop_doubles(to.positions);
    check_size(to.positions);
}

Places Explorer::step(const Places& from, std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    Places at = from, next;
    for (const char byte : bytes) {
        step_byte(at, static_cast<uint8_t>(byte), next);
        std::swap(at, next);
        if (at.dead()) break;
    }
    return at;
}

Places Explorer::step_token(const Places& from, TokenId token) {
    const std::lock_guard lock(mutex_);
    Places to;
    for (const Position& position : from.positions) {
        const Node& node = program_->nodes[position.node];
        if (node.kind != Node::Kind::kToken || node.value != static_cast<uint32_t>(token)) continue;
        const Places& after = *continuations_[continuation(node.next, position.stack)];
        to.positions.insert(to.positions.end(), after.positions.begin(), after.positions.end());
        to.complete = to.complete || after.complete;
    }
    drop_doubles(to.positions);
    return to;
}

void Explorer::allow(const Places& places, std::span<uint64_t> words) {
    const std::lock_guard lock(mutex_);
    for (const Position& position : places.positions) {
        const Node& node = program_->nodes[position.node];
        if (node.kind == Node::Kind::kToken) {
            set_bit(words, static_cast<TokenId>(node.value));
        } else {
            add_lexeme_tokens(position, words);
        }
    }
    if (!places.complete) return;
    for (const TokenId id : vocabulary_->end_tokens()) set_bit(words, id);
}

void Explorer::add_lexeme_tokens(const Position& position, std::span<uint64_t> words) {
    const ProgramLexeme& entry = program_->lexemes[program_->nodes[position.node].value];
    const Lexeme& lexeme = entry.lexeme;
    const uint32_t count = position.at.count;
    const std::shared_ptr<const LexemeProfile> profile =
        entry.profiles->find(*vocabulary_, position.at, lexeme.bounds().bounded());
    for (const LexemeProfile::Group& group : profile->groups) {
        const bool closed = group.targets.empty();
        const bool fits = !lexeme.bounds().bounded() || (closed && lexeme.bounds().contains(count + group.count)) ||
                          std::ranges::any_of(group.targets, [&](uint32_t target) {
                              return lexeme.completes(target, count + group.count);
                          });
        if (fits) group.tokens.add_to(words);
    }
    if (!profile->exits.empty()) exit_tokens(position, *profile).add_to(words);
}

const TokenSet& Explorer::exit_tokens(const Position& position, const LexemeProfile& profile) {
    const Node& node = program_->nodes[position.node];
    const LengthBounds& bounds = program_->lexemes[node.value].lexeme.bounds();
    const uint32_t count = position.at.count;
    const uint32_t most = bounds.max == kUnbounded ? kUnbounded : bounds.max - count;
    const ExitKey key{.lexeme = node.value,
                      .state = position.at.state,
                      .partial = position.at.partial.packed(),
                      .least = bounds.min > count ? bounds.min - count : 0,
                      .most = std::min(most, profile.most_exit_characters),
                      .continuation = continuation(node.next, position.stack)};
    const auto [at, fresh] = exits_.try_emplace(key);
    if (fresh) {
        collect_exits(profile, key, at->second);
        at->second.pack(vocabulary_->size());
        bytes_ += 128 + at->second.bytes();
    }
    return at->second;
}

void Explorer::collect_exits(const LexemeProfile& profile, const ExitKey& key, TokenSet& tokens) {
    const Places after = *continuations_[key.continuation];
    if (after.positions.empty()) return;
    const TokenTree& tree = vocabulary_->tree();
    path_.resize(tree.depth() + 1);
    for (const LexemeProfile::Exit& exit : profile.exits) {
        if (exit.count < key.least || exit.count > key.most) continue;
        const TokenTree::Node& root = tree.nodes()[exit.node];
        path_[root.depth] = after;
        walk(tree, exit.node + 1, root.subtree_end, [&](const TokenTree::Node& node) {
            step_byte(path_[node.depth - 1u], node.byte, path_[node.depth]);
            if (path_[node.depth].dead()) return false;
            for (const TokenId id : tree.own_tokens(node)) tokens.add(id);
            return !path_[node.depth].positions.empty();
        });
    }
}

Places Explorer::move_to(Explorer& to, const Places& places) {
    const std::scoped_lock lock(mutex_, to.mutex_);
    Places moved = places;
    for (Position& position : moved.positions) {
        std::vector<Frame> frames;
        for (StackId stack = position.stack; stack != 0; stack = frames.back().below) frames.push_back(frames_[stack]);
        position.stack = 0;
        for (; !frames.empty(); frames.pop_back()) {
            frames.back().below = position.stack;
            position.stack = to.push(frames.back());
        }
    }
    return moved;
}

}  // namespace sluice::grammar
