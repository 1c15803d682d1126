#include "text/output/json_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace sluice::output {

namespace {

constexpr size_t kLongestHeader = size_t{64} << 10;

// What models leave between arguments and the closing mark: a fence, a bracket too many.
constexpr std::string_view kStray = "`}])\",;";

std::string unquoted(const std::string& text) {
    const nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    return value.is_string() ? value.get<std::string>() : std::string();
}

// Skips what is left of a call up to the closing mark, and that.
class Discard {
  public:
    explicit Discard(std::string_view close) : close_(close) {}
    std::optional<size_t> step(std::string_view text, bool ended, bool& done) const {
        done = close_.empty();
        if (done) return 0;
        for (size_t at = 0; at < text.size(); ++at) {
            const Match match = begins_with(text.substr(at), close_, ended);
            if (match == Match::kNo) continue;
            if (match == Match::kMaybe) return at == 0 ? std::nullopt : std::optional(at);
            done = true;
            return at + close_.size();
        }
        return text.empty() ? std::nullopt : std::optional(text.size());
    }

  private:
    std::string_view close_;
};

}  // namespace

bool CallEnvelope::feed(char byte, DeltaWriter& out) {
    if (quoted_.size() + early_.size() > kMostHeld) phase_ = Phase::kBroken;
    switch (phase_) {
        case Phase::kComplete:
        case Phase::kBroken:
            return false;
        case Phase::kInKey:
        case Phase::kName:
            take_quoted(byte, out);
            return true;
        case Phase::kArguments:
            return take_arguments(byte, out) || feed(byte, out);
        case Phase::kText:
            take_text(byte, out);
            return true;
        case Phase::kOther: {
            std::string dropped;
            if (other_.feed(byte, dropped)) return true;
            phase_ = other_.complete() ? Phase::kNext : Phase::kBroken;
            return feed(byte, out);
        }
        default:
            break;
    }
    if (is_space(byte)) return true;
    switch (phase_) {
        case Phase::kOpen:
            phase_ = byte == '{' ? Phase::kKey : Phase::kBroken;
            break;
        case Phase::kNext:
            if (byte == ',') {
                phase_ = Phase::kKey;
                break;
            }
            [[fallthrough]];
        case Phase::kKey:
            if (byte == '}') {
                end(out);
            } else if (byte == '"' && phase_ == Phase::kKey) {
                quoted_.assign(1, byte);
                phase_ = Phase::kInKey;
            } else {
                phase_ = Phase::kBroken;
            }
            break;
        case Phase::kColon:
            phase_ = byte == ':' ? Phase::kValue : Phase::kBroken;
            break;
        default:
            return begin_value(byte, out);
    }
    return phase_ != Phase::kBroken;
}

void CallEnvelope::take_quoted(char byte, DeltaWriter& out) {
    quoted_ += byte;
    if (std::exchange(escaped_, !escaped_ && byte == '\\')) return;
    if (byte != '"') return;
    std::string text = unquoted(std::exchange(quoted_, {}));
    if (phase_ == Phase::kInKey) {
        key_ = std::move(text);
        phase_ = Phase::kColon;
        return;
    }
    phase_ = Phase::kNext;
    if (text.empty() || named_) return;
    named_ = true;
    out.begin_call(std::move(text));
    out.arguments(std::exchange(early_, {}));
}

bool CallEnvelope::begin_value(char byte, DeltaWriter& out) {
    const bool is_arguments = (key_ == "arguments" || key_ == "parameters") && !has_arguments_;
    if (key_ == "name" && byte == '"') {
        quoted_.assign(1, byte);
        phase_ = Phase::kName;
        return true;
    }
    if (is_arguments && byte == '"') {
        has_arguments_ = true;
        phase_ = Phase::kText;
        return true;
    }
    if (is_arguments && byte == '{') {
        has_arguments_ = true;
        phase_ = Phase::kArguments;
    } else {
        other_ = JsonRelay();
        phase_ = Phase::kOther;
    }
    return feed(byte, out);
}

bool CallEnvelope::take_arguments(char byte, DeltaWriter& out) {
    std::string text;
    const bool taken = arguments_.feed(byte, text);
    if (!taken) {
        phase_ = arguments_.complete() ? Phase::kNext : Phase::kBroken;
        arguments_.close(text);
    }
    write(text, out);
    return taken;
}

void CallEnvelope::take_text(char byte, DeltaWriter& out) {
    const bool inside = !quoted_.empty();  // an escape has begun
    if (!inside && byte == '"') {
        close_arguments(out);
        phase_ = Phase::kNext;
        return;
    }
    if (!inside && byte != '\\') return take_decoded(byte, out);
    constexpr size_t kUnicodeEscape = 6;
    quoted_ += byte;
    const bool unicode = quoted_.size() > 1 && quoted_[1] == 'u';
    if (quoted_.size() == 1 || (unicode && quoted_.size() < kUnicodeEscape)) return;
    // The first half of a pair waits for the second.
    const bool high = unicode && quoted_.size() == kUnicodeEscape && (quoted_[2] | 0x20) == 'd' &&
                      std::string_view("89abAB").find(quoted_[3]) != std::string_view::npos;
    if (high || (unicode && quoted_.size() > kUnicodeEscape && quoted_.size() < 2 * kUnicodeEscape)) return;
    for (const char part : unquoted('"' + std::exchange(quoted_, {}) + '"')) take_decoded(part, out);
}

void CallEnvelope::take_decoded(char byte, DeltaWriter& out) {
    // Text that is no object becomes an empty one.
    if (!arguments_.begun() && !is_space(byte) && byte != '{') close_arguments(out);
    take_arguments(byte, out);
    phase_ = Phase::kText;
}

void CallEnvelope::close_arguments(DeltaWriter& out) {
    std::string rest;
    arguments_.close(rest);
    write(rest, out);
}

void CallEnvelope::write(std::string_view text, DeltaWriter& out) {
    if (named_) {
        out.arguments(text);
    } else {
        early_ += text;
    }
}

void CallEnvelope::end(DeltaWriter& out) {
    if (named_ && !has_arguments_) out.arguments("{}");
    phase_ = Phase::kComplete;
}

void CallEnvelope::finish(DeltaWriter& out) {
    if (phase_ == Phase::kComplete || !named_) return;
    close_arguments(out);
    phase_ = Phase::kComplete;
}

namespace {

class EnvelopeReader : public CallReader {
  public:
    explicit EnvelopeReader(std::string_view close) : close_(close), discard_(close) {}

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        if (discarding_) return discard_.step(text, ended, done_);
        return open_ ? inside(text, out) : between(text, ended);
    }
    bool done() const override { return done_; }
    void finish(DeltaWriter& out) override {
        if (open_) envelope_.finish(out);
        done_ = true;
    }

  private:
    std::optional<size_t> between(std::string_view text, bool ended) {
        const size_t begin = space_end(text);
        if (begin == text.size()) {
            if (!ended) return std::nullopt;
            done_ = true;
            return begin;
        }
        const std::string_view rest = text.substr(begin);
        if (rest[0] == '{') {
            envelope_ = CallEnvelope();
            open_ = true;
            any_ = true;
            return begin;
        }
        if (!close_.empty()) {
            const Match match = begins_markup(rest, close_, ended);
            if (match == Match::kMaybe) return std::nullopt;
            if (match == Match::kYes) {
                done_ = true;
                return std::min(begin + close_.size(), text.size());
            }
        }
        const bool skipped = (rest[0] == '[' && !any_) || kStray.find(rest[0]) != std::string_view::npos;
        if (skipped) return begin + 1;
        done_ = true;
        return any_ ? 0 : begin;
    }

    std::optional<size_t> inside(std::string_view text, DeltaWriter& out) {
        if (text.empty()) return std::nullopt;
        for (size_t at = 0; at < text.size(); ++at) {
            if (envelope_.feed(text[at], out)) {
                if (!envelope_.complete()) continue;
                ++at;
            } else if (!envelope_.complete()) {
                envelope_.finish(out);
                discarding_ = true;
            }
            open_ = false;
            return at;
        }
        return text.size();
    }

    std::string_view close_;
    Discard discard_;
    CallEnvelope envelope_;
    bool open_ = false, any_ = false, discarding_ = false, done_ = false;
};

class HeaderReader : public CallReader {
  public:
    HeaderReader(const HeaderSyntax& syntax, const ToolSchemas& tools)
        : syntax_(syntax), tools_(tools), discard_(syntax.close) {}

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        switch (phase_) {
            case Phase::kHeader:
                return header(text, out);
            case Phase::kArguments:
                return arguments(text, out);
            case Phase::kClose:
                return close(text, ended);
            case Phase::kDiscard:
                return discard_.step(text, ended, done_);
        }
        return std::nullopt;
    }
    bool done() const override { return done_; }
    void finish(DeltaWriter& out) override {
        if (phase_ == Phase::kArguments) {
            std::string rest;
            relay_.close(rest);
            out.arguments(rest);
        }
        done_ = true;
    }

  private:
    enum class Phase { kHeader, kArguments, kClose, kDiscard };

    std::optional<size_t> header(std::string_view text, DeltaWriter& out) {
        if (text.empty()) return std::nullopt;
        for (size_t at = 0; at < text.size(); ++at) {
            const bool begins = text[at] == '{';
            if (!begins) header_ += text[at];
            const bool closes = !syntax_.close.empty() && header_.ends_with(syntax_.close);
            if (!begins && !closes && header_.size() <= kLongestHeader) continue;
            if (closes) header_.resize(header_.size() - syntax_.close.size());
            std::string name = syntax_.function(header_, tools_);
            const bool bad = name.empty() || header_.size() > kLongestHeader;
            if (!bad) out.begin_call(std::move(name));
            if (closes) {
                if (!bad) out.arguments("{}");
                done_ = true;
            } else {
                phase_ = bad ? Phase::kDiscard : Phase::kArguments;
            }
            return begins ? at : at + 1;
        }
        return text.size();
    }

    std::optional<size_t> arguments(std::string_view text, DeltaWriter& out) {
        if (text.empty()) return std::nullopt;
        std::string piece;
        size_t at = 0;
        while (at < text.size() && relay_.feed(text[at], piece)) ++at;
        if (at < text.size()) {
            phase_ = relay_.complete() ? Phase::kClose : Phase::kDiscard;
            relay_.close(piece);
        } else if (relay_.complete()) {
            phase_ = Phase::kClose;
        }
        out.arguments(piece);
        return at;
    }

    std::optional<size_t> close(std::string_view text, bool ended) {
        const size_t begin = space_end(text);
        const std::string_view rest = text.substr(begin);
        if (rest.empty() && !ended) return std::nullopt;
        const Match match = syntax_.close.empty() ? Match::kNo : begins_markup(rest, syntax_.close, ended);
        if (match == Match::kMaybe) return std::nullopt;
        if (match == Match::kYes) {
            done_ = true;
            return std::min(begin + syntax_.close.size(), text.size());
        }
        if (!rest.empty() && kStray.find(rest[0]) != std::string_view::npos) return begin + 1;
        done_ = true;
        return 0;
    }

    HeaderSyntax syntax_;
    const ToolSchemas& tools_;
    Discard discard_;
    Phase phase_ = Phase::kHeader;
    std::string header_;
    JsonRelay relay_;
    bool done_ = false;
};

}  // namespace

std::unique_ptr<CallReader> envelope_reader(std::string_view close) {
    return std::make_unique<EnvelopeReader>(close);
}

std::unique_ptr<CallReader> header_reader(const HeaderSyntax& syntax, const ToolSchemas& tools) {
    return std::make_unique<HeaderReader>(syntax, tools);
}

}  // namespace sluice::output
