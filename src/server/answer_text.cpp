#include "server/answer_text.h"

#include "server/forced_call.h"

namespace sluice::server {

AnswerText::AnswerText(const Tokenizer& tokenizer, const ReadingOptions& options)
    : tokenizer_(tokenizer),
      options_(options),
      decoder_(tokenizer),
      matcher_(options.stop),
      forced_(options.forced.empty() ? nullptr : std::make_unique<ForcedCall>(options.forced)) {}

AnswerText::AnswerText(AnswerText&&) noexcept = default;
AnswerText::~AnswerText() = default;

std::vector<Delta> AnswerText::parse(const std::string& text) {
    if (text.empty()) return {};
    if (forced_) return forced_->push(text);
    return {Delta{.text = text}};
}

std::vector<Delta> AnswerText::push(TokenId id) {
    if (stopped()) return {};
    std::string certain = matcher_.push(decoder_.push(id));
    // A special token is no part of the text, and yet a stop string may name it.
    if (tokenizer_.is_special(id)) certain += matcher_.push(tokenizer_.token_bytes(id), false);
    return parse(certain);
}

std::vector<Delta> AnswerText::finish() {
    std::vector<Delta> deltas = parse(matcher_.finish(decoder_.finish()));
    if (forced_) {
        for (Delta& delta : forced_->finish()) deltas.push_back(std::move(delta));
    }
    return deltas;
}

bool AnswerText::in_reasoning() const {
    return false;
}

}  // namespace sluice::server
