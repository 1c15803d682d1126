#include "text/output/json_relay.h"

#include <fmt/core.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/output/match.h"

namespace sluice::output {

namespace {

constexpr size_t kDeepest = 500;
constexpr size_t kLongestScalar = 4096;

bool is_hexadecimal(char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

void append_in_string(std::string& out, char byte) {
    if (byte == '\n') {
        out += "\\n";
    } else if (byte == '\t') {
        out += "\\t";
    } else if (byte == '\r') {
        out += "\\r";
    } else if (static_cast<unsigned char>(byte) < 0x20) {
        out += fmt::format("\\u{:04x}", static_cast<unsigned char>(byte));
    } else {
        out += byte;
    }
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kPython = {{
    {"True", "true"},
    {"False", "false"},
    {"None", "null"},
    {"NaN", "null"},
    {"undefined", "null"},
}};

}  // namespace

bool JsonRelay::feed(char byte, std::string& out) {
    if (pending_.size() > kMostHeld || escape_.size() > kMostHeld) {
        if (phase_ == Phase::kQuote) out += '"';
        phase_ = Phase::kBroken;
    }
    switch (phase_) {
        case Phase::kComplete:
        case Phase::kBroken:
            return false;
        case Phase::kInString:
            take_string(byte, out);
            return true;
        case Phase::kInKey:
            take_key(byte);
            return true;
        case Phase::kQuote:
            return after_quote(byte, out) || feed(byte, out);
        case Phase::kScalar:
            if (scalar_.size() < kLongestScalar && !is_space(byte) &&
                std::string_view(",]}\"{[:").find(byte) == std::string_view::npos) {
                scalar_ += byte;
                return true;
            }
            return end_scalar(out) && feed(byte, out);
        default:
            break;
    }
    if (is_space(byte)) {
        if (begun_) pending_ += byte;
        return true;
    }
    switch (phase_) {
        case Phase::kFirstItem:
            if (byte == ']') return end_nested(byte, out);
            return begin_value(byte, out);
        case Phase::kKey:
            if (byte == '}') return end_nested(byte, out);
            if (byte != '"') break;
            key_at_ = pending_.size();
            pending_ += byte;
            phase_ = Phase::kInKey;
            return true;
        case Phase::kColon:
            if (byte != ':') break;
            pending_ += byte;
            phase_ = Phase::kValue;
            return true;
        case Phase::kValue:
            if (byte == ']' && !nested_.empty() && nested_.back() == '[') return end_nested(byte, out);
            return begin_value(byte, out);
        case Phase::kNext:
            if (byte == '}' || byte == ']') return end_nested(byte, out);
            if (byte != ',') break;
            pending_ += byte;
            phase_ = nested_.back() == '{' ? Phase::kKey : Phase::kValue;
            return true;
        default:
            break;
    }
    phase_ = Phase::kBroken;
    return false;
}

void JsonRelay::flush(std::string& out) {
    out += pending_;
    pending_.clear();
    begun_ = true;
}

bool JsonRelay::begin_value(char byte, std::string& out) {
    if (byte == '{' || byte == '[') {
        begin_nested(byte, out);
    } else if (byte == '"') {
        flush(out);
        out += byte;
        phase_ = Phase::kInString;
    } else if (std::string_view("}]:,").find(byte) != std::string_view::npos) {
        phase_ = Phase::kBroken;
    } else {
        scalar_.assign(1, byte);
        phase_ = Phase::kScalar;
    }
    return phase_ != Phase::kBroken;
}

void JsonRelay::begin_nested(char byte, std::string& out) {
    if (nested_.size() >= kDeepest) {
        phase_ = Phase::kBroken;
        return;
    }
    flush(out);
    out += byte;
    nested_ += byte;
    phase_ = byte == '{' ? Phase::kKey : Phase::kFirstItem;
}

bool JsonRelay::end_nested(char byte, std::string& out) {
    const bool fits = !nested_.empty() && nested_.back() == (byte == '}' ? '{' : '[');
    if (!fits) {
        phase_ = Phase::kBroken;
        return false;
    }
    // A comma that nothing followed goes.
    if (const size_t comma = pending_.find(','); comma != std::string::npos) pending_.erase(comma, 1);
    flush(out);
    out += byte;
    nested_.pop_back();
    end_value();
    return true;
}

void JsonRelay::end_value() {
    phase_ = nested_.empty() ? Phase::kComplete : Phase::kNext;
}

void JsonRelay::take_key(char byte) {
    if (!escape_.empty()) {
        const bool known = std::string_view("\"\\/bfnrtu").find(byte) != std::string_view::npos;
        pending_ += known ? "\\" : "\\\\";
        append_in_string(pending_, byte);
        escape_.clear();
    } else if (byte == '\\') {
        escape_ += byte;
    } else if (byte == '"') {
        pending_ += byte;
        const bool valid = nlohmann::json::accept(std::string_view(pending_).substr(key_at_));
        phase_ = valid ? Phase::kColon : Phase::kBroken;
    } else {
        append_in_string(pending_, byte);
    }
}

void JsonRelay::take_string(char byte, std::string& out) {
    if (!escape_.empty()) return take_escape(byte, out);
    if (byte == '\\') {
        escape_ += byte;
    } else if (byte != '"') {
        append_in_string(out, byte);
    } else if (nested_.empty()) {
        out += byte;
        end_value();
    } else {
        phase_ = Phase::kQuote;
    }
}

void JsonRelay::take_escape(char byte, std::string& out) {
    constexpr size_t kUnicodeEscape = 6;  // \u0041
    const bool unicode = escape_.size() > 1;
    if (unicode && is_hexadecimal(byte)) {
        escape_ += byte;
        if (escape_.size() < kUnicodeEscape) return;
        out += std::exchange(escape_, {});
    } else if (unicode) {
        out += '\\';
        out += std::exchange(escape_, {});
        take_string(byte, out);
    } else if (byte == 'u') {
        escape_ += byte;
    } else {
        escape_.clear();
        if (byte == '\'') {
            out += byte;
        } else if (std::string_view("\"\\/bfnrt").find(byte) != std::string_view::npos) {
            out += '\\';
            out += byte;
        } else {
            out += "\\\\";
            append_in_string(out, byte);
        }
    }
}

bool JsonRelay::after_quote(char byte, std::string& out) {
    if (is_space(byte)) {
        escape_ += byte;
        return true;
    }
    std::string space = std::exchange(escape_, {});
    if (std::string_view(",}]").find(byte) != std::string_view::npos) {
        out += '"';
        pending_ = std::move(space);
        end_value();
        return false;
    }
    out += "\\\"";
    for (const char held : space) append_in_string(out, held);
    phase_ = Phase::kInString;
    take_string(byte, out);
    return true;
}

bool JsonRelay::end_scalar(std::string& out) {
    std::string text = std::exchange(scalar_, {});
    for (const auto& [python, json] : kPython) {
        if (text == python) text = json;
    }
    if (!nlohmann::json::accept(text)) {
        phase_ = Phase::kBroken;
        return false;
    }
    flush(out);
    out += text;
    end_value();
    return true;
}

void JsonRelay::close(std::string& out) {
    if (phase_ == Phase::kComplete) return;
    if (phase_ == Phase::kScalar) end_scalar(out);
    if (phase_ == Phase::kInString || phase_ == Phase::kQuote) out += '"';
    if (!begun_) out += "{}";
    begun_ = true;
    for (; !nested_.empty(); nested_.pop_back()) out += nested_.back() == '{' ? '}' : ']';
    phase_ = Phase::kComplete;
}

}  // namespace sluice::output
