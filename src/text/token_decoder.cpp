#include "text/token_decoder.h"

#include <cctype>
#include <optional>

#include "text/byte_alphabet.h"
#include "text/metaspace.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

// "<0x61>": a token that is one byte.
std::optional<char> fallback_byte(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
    unsigned value = 0;
    for (const char c : token.substr(3, 2)) {
        if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
        const int digit = std::isdigit(static_cast<unsigned char>(c)) ? c - '0' : (c | 0x20) - 'a' + 10;
        value = value * 16 + static_cast<unsigned>(digit);
    }
    return static_cast<char>(value);
}

}  // namespace

TokenDecoder TokenDecoder::parse(const TokenizerField& field) {
    TokenDecoder decoder;
    if (field.is_null()) return decoder;
    decoder.steps_.clear();
    decoder.add(field);
    decoder.settle();
    return decoder;
}

void TokenDecoder::add(const TokenizerField& field) {
    const std::string type = field.at("type").text();
    if (type == "Sequence") {
        for (const TokenizerField& item : field.at("decoders").items()) add(item);
    } else if (type == "ByteLevel") {
        steps_.push_back({.kind = Kind::kByteLevel});
    } else if (type == "ByteFallback") {
        steps_.push_back({.kind = Kind::kByteFallback});
    } else if (type == "Fuse") {
        steps_.push_back({.kind = Kind::kFuse});
    } else if (type == "Metaspace") {
        const Metaspace metaspace = Metaspace::parse(field);
        steps_.push_back(
            {.kind = Kind::kMetaspace, .content = metaspace.replacement, .drops_first = metaspace.scheme != "never"});
    } else if (type == "Replace") {
        Step step{.kind = Kind::kReplace, .content = field.at("content").text()};
        step.pattern.emplace(Pattern::parse(field.at("pattern")));
        steps_.push_back(std::move(step));
    } else if (type == "Strip") {
        Step step{.kind = Kind::kStrip, .content = field.at("content").text()};
        const int64_t left = field.at("start").integer();
        const int64_t right = field.at("stop").integer();
        if (left < 0 || right < 0 || step.content.empty()) {
            field.invalid("must have a character as content, and start and stop of at least 0");
        }
        step.left = static_cast<size_t>(left);
        step.right = static_cast<size_t>(right);
        steps_.push_back(std::move(step));
    } else {
        field.at("type").unsupported(fmt::format("is {}, a decoder that is not supported", in_quotes(type)));
    }
}

// After ByteLevel or Fuse there is one text instead of tokens. Dropping characters at its start can be done as it
// grows; any other step has to see the whole of it.
void TokenDecoder::settle() {
    bool whole = false;
    for (Step& step : steps_) {
        step.whole_text = whole;
        whole = whole || step.kind == Kind::kByteLevel || step.kind == Kind::kFuse;
    }
    bool needed = false;
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
        step->waits = needed;
        const bool grows = step->kind == Kind::kFuse || step->kind == Kind::kMetaspace ||
                           (step->kind == Kind::kStrip && step->right == 0);
        needed = needed || !grows;
    }
}

std::string TokenDecoder::bytes_of(std::string_view token) const {
    PatternScratch scratch;
    std::string bytes(token);
    for (const Step& step : steps_) {
        if (step.kind == Kind::kByteLevel) {
            bytes = byte_alphabet::decode(bytes);
        } else if (step.kind == Kind::kByteFallback) {
            if (const auto byte = fallback_byte(bytes)) return std::string(1, *byte);
        } else if (step.kind == Kind::kReplace && !step.whole_text) {
            std::string replaced;
            step.pattern->replace(bytes, step.content, scratch, replaced);
            bytes = std::move(replaced);
        } else if (step.kind == Kind::kMetaspace) {
            bytes = replace_all(bytes, step.content, " ");
        }
    }
    return bytes;
}

TokenDecoderStream::TokenDecoderStream(const TokenDecoder& decoder)
    : decoder_(&decoder), states_(decoder.steps_.size()) {}

void TokenDecoderStream::push(std::string_view token, std::string& out) {
    feed(0, std::string(token), out);
}

void TokenDecoderStream::feed(size_t at, std::string text, std::string& out) {
    if (at == states_.size()) {
        out += text;
        return;
    }
    const TokenDecoder::Step& step = decoder_->steps_[at];
    State& state = states_[at];
    switch (step.kind) {
        case TokenDecoder::Kind::kJoin:
            if (state.begun) out += ' ';
            state.begun = true;
            return feed(at + 1, std::move(text), out);
        case TokenDecoder::Kind::kByteLevel:
            return feed_bytes(at, text, out);
        case TokenDecoder::Kind::kByteFallback:
            if (const auto byte = fallback_byte(text)) {
                state.waiting += *byte;
                return;
            }
            release_bytes(at, out);
            return feed(at + 1, std::move(text), out);
        case TokenDecoder::Kind::kFuse:
            if (step.waits) {
                state.waiting += text;
                return;
            }
            return feed(at + 1, std::move(text), out);
        case TokenDecoder::Kind::kReplace: {
            std::string replaced;
            step.pattern->replace(text, step.content, scratch_, replaced);
            return feed(at + 1, std::move(replaced), out);
        }
        case TokenDecoder::Kind::kMetaspace: {
            const bool first = step.whole_text || !std::exchange(state.begun, true);
            return feed(at + 1, replace_all(text, step.content, first && step.drops_first ? "" : " "), out);
        }
        case TokenDecoder::Kind::kStrip:
            return feed(at + 1, strip(at, text), out);
    }
}

void TokenDecoderStream::feed_bytes(size_t at, std::string_view text, std::string& out) {
    std::string& waiting = states_[at].waiting;
    waiting += byte_alphabet::decode(text);
    if (decoder_->steps_[at].waits) return;
    const size_t tail = utf8::incomplete_tail(waiting);
    if (tail == waiting.size()) return;
    std::string complete = utf8::sanitize(std::string_view(waiting).substr(0, waiting.size() - tail));
    waiting.erase(0, waiting.size() - tail);
    feed(at + 1, std::move(complete), out);
}

// A run of byte tokens is text if all of it is UTF-8, and otherwise one U+FFFD a byte.
void TokenDecoderStream::release_bytes(size_t at, std::string& out) {
    const std::string run = std::exchange(states_[at].waiting, {});
    if (run.empty()) return;
    if (utf8::is_valid(run)) return feed(at + 1, run, out);
    std::string replacement;
    utf8::append(replacement, utf8::kReplacement);
    for (size_t i = 0; i < run.size(); ++i) feed(at + 1, replacement, out);
}

std::string TokenDecoderStream::strip(size_t at, std::string_view text) {
    const TokenDecoder::Step& step = decoder_->steps_[at];
    State& state = states_[at];
    if (!step.whole_text) state = {};
    while (!state.begun && state.stripped < step.left && text.starts_with(step.content)) {
        text.remove_prefix(step.content.size());
        ++state.stripped;
    }
    if (!text.empty()) state.begun = true;
    for (size_t i = 0; i < step.right && text.ends_with(step.content); ++i) text.remove_suffix(step.content.size());
    return std::string(text);
}

void TokenDecoderStream::finish(std::string& out) {
    for (size_t at = 0; at < states_.size(); ++at) {
        const TokenDecoder::Step& step = decoder_->steps_[at];
        if (step.kind == TokenDecoder::Kind::kByteFallback) {
            release_bytes(at, out);
        } else if (!states_[at].waiting.empty()) {
            std::string waiting = std::exchange(states_[at].waiting, {});
            const bool bytes = step.kind == TokenDecoder::Kind::kByteLevel;
            feed(at + 1, bytes ? utf8::sanitize(waiting) : std::move(waiting), out);
        }
    }
}

}  // namespace sluice
