#include "text/output/python_calls.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "text/output/json_relay.h"

namespace sluice::output {

namespace {

constexpr size_t kLongestPythonName = 256;

bool in_python_name(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '_' || byte == '.' || byte == '-';
}

bool begins_python_name(char byte) {
    return in_python_name(byte) && !(byte >= '0' && byte <= '9') && byte != '.' && byte != '-';
}

class PythonReader : public CallReader {
  public:
    std::optional<size_t> step(std::string_view text, bool, DeltaWriter& out) override {
        if (text.empty()) return std::nullopt;
        size_t at = 0;
        while (at < text.size() && phase_ != Phase::kDone) {
            // What ends the list without being a part of it is text again.
            if (!take(text[at], out)) break;
            ++at;
        }
        out.arguments(std::exchange(piece_, {}));
        return at;
    }
    bool done() const override { return phase_ == Phase::kDone; }
    void finish(DeltaWriter& out) override {
        close_call(out);
        phase_ = Phase::kDone;
    }

  private:
    enum class Phase { kBetween, kName, kArgument, kKey, kValue, kString, kEscape, kHex, kSkip, kDone };

    bool take(char byte, DeltaWriter& out) {
        switch (phase_) {
            case Phase::kBetween:
                return between(byte);
            case Phase::kName:
                return name(byte, out);
            case Phase::kArgument:
            case Phase::kKey:
                key(byte, out);
                break;
            case Phase::kValue:
                value(byte, out);
                break;
            case Phase::kString:
                string(byte);
                break;
            case Phase::kEscape:
                escape(byte);
                break;
            case Phase::kHex:
                feed(byte);
                if (--hex_left_ == 0) phase_ = Phase::kString;
                break;
            case Phase::kSkip:
                if (byte == ')') phase_ = Phase::kBetween;
                break;
            case Phase::kDone:
                return false;
        }
        if (open_ && relay_.broken()) skip_call(out);
        return true;
    }

    bool between(char byte) {
        if (byte == ']') {
            phase_ = Phase::kDone;
        } else if (begins_python_name(byte)) {
            word_.assign(1, byte);
            phase_ = Phase::kName;
        } else if (!is_space(byte) && byte != '[' && byte != ',' && byte != ';') {
            phase_ = Phase::kDone;
            return false;
        }
        return true;
    }

    bool name(char byte, DeltaWriter& out) {
        if (in_python_name(byte) && word_.size() < kLongestPythonName) {
            word_ += byte;
            return true;
        }
        if (is_space(byte)) return true;
        phase_ = byte == '(' ? Phase::kArgument : Phase::kDone;
        if (phase_ == Phase::kDone) return false;
        out.begin_call(std::exchange(word_, {}));
        relay_ = JsonRelay();
        open_ = true;
        feed('{');
        return true;
    }

    void key(char byte, DeltaWriter& out) {
        if (is_space(byte) || (byte == ',' && phase_ == Phase::kArgument)) return;
        if (phase_ == Phase::kArgument && byte == ')') return end_call(out);
        const bool named = phase_ == Phase::kArgument ? begins_python_name(byte) : in_python_name(byte);
        if (named && word_.size() < kLongestPythonName) {
            word_ += byte;
            phase_ = Phase::kKey;
        } else if (phase_ == Phase::kKey && byte == '=') {
            for (const char each : '"' + std::exchange(word_, {}) + "\":") feed(each);
            phase_ = Phase::kValue;
        } else {
            skip_call(out);
        }
    }

    void value(char byte, DeltaWriter& out) {
        const bool outermost = nested_.empty();
        if (byte == '"' || byte == '\'') {
            quote_ = byte;
            phase_ = Phase::kString;
            feed('"');
        } else if (byte == '[' || byte == '(' || byte == '{') {
            nested_ += byte == '{' ? '}' : ']';
            feed(byte == '{' ? '{' : '[');
        } else if (outermost && byte == ')') {
            end_call(out);
        } else if (outermost && byte == ',') {
            feed(',');
            phase_ = Phase::kArgument;
        } else if (!outermost && (byte == ']' || byte == ')' || byte == '}')) {
            feed(nested_.back());
            nested_.pop_back();
        } else if (!is_space(byte)) {
            feed(byte);
        }
    }

    void string(char byte) {
        if (byte == quote_) {
            feed('"');
            phase_ = Phase::kValue;
        } else if (byte == '\\') {
            phase_ = Phase::kEscape;
        } else {
            if (byte == '"') feed('\\');
            feed(byte);
        }
    }

    void escape(char byte) {
        phase_ = Phase::kString;
        if (byte == '\n') return;  // a line that goes on
        if (byte == '\'') return feed(byte);
        feed('\\');
        if (byte == 'x') {
            for (const char each : std::string_view("u00")) feed(each);
            hex_left_ = 2;
            phase_ = Phase::kHex;
            return;
        }
        // What is no escape in Python stands for itself, with its backslash.
        if (std::string_view("\"\\bfnrtu").find(byte) == std::string_view::npos) feed('\\');
        feed(byte);
    }

    void feed(char byte) { relay_.feed(byte, piece_); }

    void end_call(DeltaWriter& out) {
        feed('}');
        close_call(out);
        phase_ = Phase::kBetween;
    }
    void skip_call(DeltaWriter& out) {
        close_call(out);
        phase_ = Phase::kSkip;
    }
    void close_call(DeltaWriter& out) {
        if (!open_) return;
        relay_.close(piece_);
        out.arguments(std::exchange(piece_, {}));
        open_ = false;
        nested_.clear();
        word_.clear();
    }

    Phase phase_ = Phase::kBetween;
    std::string word_;    // a name that has begun
    std::string nested_;  // what closes the brackets of a value
    char quote_ = 0;
    int hex_left_ = 0;
    bool open_ = false;  // a call has begun
    JsonRelay relay_;
    std::string piece_;  // arguments that are certain
};

// Where a name that begins at `at` ends; nothing where none does.
std::optional<size_t> python_name_end(std::string_view text, size_t at) {
    if (at >= text.size() || !begins_python_name(text[at])) return std::nullopt;
    while (at < text.size() && in_python_name(text[at])) ++at;
    return at;
}

}  // namespace

std::unique_ptr<CallReader> python_reader() {
    return std::make_unique<PythonReader>();
}

Match python_call_follows(std::string_view after, bool ended) {
    const Match open_end = ended ? Match::kNo : Match::kMaybe;
    size_t at = space_end(after);
    if (at == after.size()) return open_end;
    const std::optional<size_t> name = python_name_end(after, at);
    if (!name || *name - at > kLongestPythonName) return Match::kNo;
    if (*name == after.size()) return open_end;
    if (after[*name] != '(') return Match::kNo;
    at = *name + 1;
    at += space_end(after.substr(at));
    // A call that is cut here names its function.
    if (at == after.size()) return ended ? Match::kYes : Match::kMaybe;
    if (after[at] == ')') return Match::kYes;
    const std::optional<size_t> key = python_name_end(after, at);
    if (!key || *key - at > kLongestPythonName) return Match::kNo;
    const size_t next = *key + space_end(after.substr(*key));
    if (next == after.size()) return ended ? Match::kYes : Match::kMaybe;
    return after[next] == '=' ? Match::kYes : Match::kNo;
}

}  // namespace sluice::output
