#include "server/answer_text.h"

#include <utility>

namespace sluice::server {

namespace {

void append(std::vector<Delta>& all, std::vector<Delta>&& more) {
    for (Delta& delta : more) all.push_back(std::move(delta));
}

}  // namespace

AnswerText::AnswerText(const Tokenizer& tokenizer, const ReadingOptions& options)
    : tokenizer_(tokenizer), decoder_(tokenizer), matcher_(options.stop) {
    if (options.format == nullptr) return;
    parser_.emplace(*options.format, OutputParserOptions{.tools = options.tools,
                                                         .reasoning_open = options.reasoning_open,
                                                         .calls = !options.tools.empty()});
}

std::vector<Delta> AnswerText::parse(const std::string& text) {
    if (text.empty()) return {};
    return parser_ ? parser_->push(text) : std::vector<Delta>{{.text = text}};
}

std::vector<Delta> AnswerText::push(TokenId id) {
    if (stopped()) return {};
    std::string certain = matcher_.push(decoder_.push(id));
    if (!tokenizer_.is_special(id)) return parse(certain);
    // A special token is no part of the text, and yet a stop string may name it, and markup may be made of it.
    const std::string token = tokenizer_.token_bytes(id);
    certain += matcher_.push(token, false);
    std::vector<Delta> deltas = parse(certain);
    if (parser_ && !stopped()) append(deltas, parser_->push_special(token));
    return deltas;
}

std::vector<Delta> AnswerText::finish() {
    std::vector<Delta> deltas = parse(matcher_.finish(decoder_.finish()));
    if (parser_) append(deltas, parser_->finish());
    return deltas;
}

bool AnswerText::in_reasoning() const {
    return parser_ && parser_->in_reasoning();
}

}  // namespace sluice::server
