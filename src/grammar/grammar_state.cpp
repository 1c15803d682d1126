#include <algorithm>

#include "base/error.h"
#include "grammar/grammar.h"

namespace sluice {

using grammar::BeginMarker;
using grammar::Explorer;
using grammar::Places;

struct GrammarState::Impl {
    std::shared_ptr<const Grammar> grammar;
    std::shared_ptr<const BeginMarker> marker;  // null: the grammar holds
    size_t matched = 0;                         // of the marker
    // Places are numbers of an explorer, and both change together where that one is full: also while a mask is asked
    // for.
    mutable std::shared_ptr<Explorer> explorer;
    mutable Places places;
    bool optional = false;  // nothing of the grammar need come
    bool ended = false;

    Explorer& current() const {
        std::shared_ptr<Explorer> now = grammar->explorer();
        if (now != explorer) {
            places = explorer->move_to(*now, places);
            explorer = std::move(now);
        }
        return *explorer;
    }
    Places after_marker(std::string_view rest) const {
        Explorer& at = current();
        return at.step(at.start(grammar->program().spaced_start), rest);
    }
    bool accept_free(std::string_view text);
    bool move(Places next);
};

GrammarState::GrammarState(std::shared_ptr<const Grammar> grammar, const GrammarBegin& begin)
    : impl_(std::make_unique<Impl>()) {
    impl_->explorer = grammar->explorer();
    if (begin.after.empty()) {
        impl_->places = impl_->explorer->start(grammar->program().start);
    } else {
        impl_->marker = grammar->marker(begin.after);
        impl_->optional = begin.optional;
    }
    impl_->grammar = std::move(grammar);
}

GrammarState::GrammarState(const GrammarState& other) : impl_(std::make_unique<Impl>(*other.impl_)) {}
GrammarState& GrammarState::operator=(const GrammarState& other) {
    if (this != &other) impl_ = std::make_unique<Impl>(*other.impl_);
    return *this;
}
GrammarState::GrammarState(GrammarState&&) noexcept = default;
GrammarState& GrammarState::operator=(GrammarState&&) noexcept = default;
GrammarState::~GrammarState() = default;

void GrammarState::allow(TokenMask& mask) const {
    const size_t size = impl_->grammar->vocabulary().size();
    if (mask.tokens() < size) {
        fail(ErrorCode::kUsage, "a mask of {} tokens is too small for a grammar over {}", mask.tokens(), size);
    }
    if (impl_->ended) return;
    if (impl_->marker == nullptr) {
        impl_->current().allow(impl_->places, mask.words());
        return;
    }
    const std::span<const uint64_t> free = impl_->marker->free_tokens();
    for (size_t i = 0; i < free.size(); ++i) mask.words()[i] |= free[i];
    for (const BeginMarker::Completion& completion : impl_->marker->completions(impl_->matched)) {
        if (impl_->after_marker(completion.rest).dead()) mask.forbid(completion.token);
    }
    if (!impl_->optional) return;
    for (const TokenId id : impl_->grammar->vocabulary().end_tokens()) mask.allow(id);
}

bool GrammarState::Impl::move(Places next) {
    if (next.dead()) return false;
    places = std::move(next);
    return true;
}

bool GrammarState::Impl::accept_free(std::string_view text) {
    const BeginMarker::Progress progress = marker->advance(matched, text);
    matched = progress.matched;
    if (!progress.complete) return true;
    if (!move(after_marker(progress.rest))) return false;
    marker = nullptr;
    return true;
}

bool GrammarState::accept(TokenId token) {
    const grammar::Vocabulary& vocabulary = impl_->grammar->vocabulary();
    if (impl_->ended || !vocabulary.has(token)) return false;
    if (vocabulary.ends(token) && is_complete()) return impl_->ended = true;
    if (impl_->marker != nullptr) {
        const size_t before = impl_->matched;
        if (!vocabulary.ends(token) && impl_->accept_free(vocabulary.text(token))) return true;
        impl_->matched = before;
        return false;
    }
    Explorer& explorer = impl_->current();
    const std::string_view bytes = vocabulary.bytes(token);
    return impl_->move(bytes.empty() ? explorer.step_token(impl_->places, token) : explorer.step(impl_->places, bytes));
}

bool GrammarState::accept(std::string_view text) {
    if (impl_->ended || text.empty()) return !impl_->ended;
    if (impl_->marker == nullptr) return impl_->move(impl_->current().step(impl_->places, text));
    const size_t before = impl_->matched;
    if (impl_->accept_free(text)) return true;
    impl_->matched = before;
    return false;
}

bool GrammarState::has_begun() const {
    return impl_->marker == nullptr;
}

bool GrammarState::is_complete() const {
    return has_begun() ? impl_->places.complete : impl_->optional;
}

bool GrammarState::is_finished() const {
    return impl_->ended || (has_begun() && is_complete() && impl_->places.positions.empty());
}

std::function<void(std::span<const TokenId> generated, TokenMask& mask)> grammar_mask(GrammarState state) {
    const auto shared = std::make_shared<GrammarState>(std::move(state));
    return [shared, seen = size_t{0}](std::span<const TokenId> generated, TokenMask& mask) mutable {
        for (; seen < generated.size(); ++seen) {
            if (!shared->accept(generated[seen])) {
                fail(ErrorCode::kUsage, "token {} was generated, which the grammar does not allow", generated[seen]);
            }
        }
        shared->allow(mask);
    };
}

}  // namespace sluice
