#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sluice/stop_matcher.h"
#include "sluice/tokenizer.h"

namespace sluice {

// The text side of a generation: decodes token by token and withholds what may be the start of a stop string. Empty
// texts where there is no tokenizer.
class TextStream {
  public:
    TextStream(const Tokenizer* tokenizer, const std::vector<std::string>& stop)
        : tokenizer_(tokenizer), matcher_(stop) {
        if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
    }
    // The text that became certain with this token.
    std::string push(TokenId id) {
        if (!decoder_) return {};
        std::string certain = matcher_.push(decoder_->push(id));
        // A special token is no part of the text, and yet a stop string may name it.
        if (tokenizer_->is_special(id)) certain += matcher_.push(tokenizer_->token_bytes(id), false);
        return certain;
    }
    std::string finish() { return decoder_ ? matcher_.finish(decoder_->finish()) : std::string(); }
    bool stopped() const { return matcher_.stopped(); }

  private:
    const Tokenizer* tokenizer_;
    std::optional<StreamDecoder> decoder_;
    StopMatcher matcher_;
};

}  // namespace sluice
