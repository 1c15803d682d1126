#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "backend/operations/drawing.h"
#include "sluice/engine.h"

namespace sluice {

// Tokens that a session is to see: first those it has but its state is behind (see Session::Impl), then `tokens`.
// Forward passes take it piece by piece.
struct SequenceWork {
    Session::Impl* session = nullptr;
    std::span<const TokenId> tokens;
    LogitsWanted logits = LogitsWanted::kNone;
    bool hidden = false;
    // Of the last logits only which of so many first tokens is the likeliest is wanted, where the model can tell; else
    // it gives them. 0: logits.
    int64_t likeliest_of = 0;
    std::optional<DrawSettings> draw = {};  // what is drawn by, in place of the likeliest
    // Whether the token that is told goes on unless it ends the sequence, and what the one behind it is drawn by then.
    bool goes_on = false;
    std::optional<DrawSettings> next_draw = {};
    std::optional<TokenId> likeliest = {};
    size_t done = 0;         // of `tokens`
    uint64_t evaluated = 0;  // tokens, those that the state was behind by included
    uint64_t last_pass = 0;  // the number of the last pass it took part in
    SequenceOutput output;   // an error ends the work
    // Set from any thread: nobody wants the rest. null: nobody can.
    const std::atomic<bool>* cancelled = nullptr;
    const std::atomic<bool>* cancelled_by_caller = nullptr;

    bool is_cancelled() const {
        return (cancelled != nullptr && *cancelled) || (cancelled_by_caller != nullptr && *cancelled_by_caller);
    }

    int64_t behind() const;     // tokens that the session has and its state has not seen
    int64_t remaining() const;  // 0: done
    std::span<const TokenId> next_piece(int64_t chunk) const;
};

}  // namespace sluice
