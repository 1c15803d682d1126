#include "sluice/tokenizer.h"
#include "text/tokenizer_impl.h"

namespace sluice {

struct StreamDecoder::State {
    const Tokenizer::Impl& tokenizer;
    bool skip_special_tokens;
    TokenDecoderStream stream;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : state_(new State{*tokenizer.impl_, skip_special_tokens, TokenDecoderStream(tokenizer.impl_->decoder)}) {}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(TokenId id) {
    const std::string_view content = state_->tokenizer.content(id);
    std::string text;
    const AddedToken* added = state_->tokenizer.added.find(id);
    const bool skipped = state_->skip_special_tokens && added != nullptr && added->special;
    const bool hole = added == nullptr && !state_->tokenizer.model.vocabulary().content(id);
    if (!skipped && !hole) state_->stream.push(content, text);
    return text;
}

std::string StreamDecoder::finish() {
    std::string text;
    state_->stream.finish(text);
    return text;
}

}  // namespace sluice
