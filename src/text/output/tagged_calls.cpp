#include "text/output/tagged_calls.h"

#include <algorithm>
#include <string>
#include <utility>

namespace sluice::output {

namespace {

constexpr size_t kLongestName = size_t{64} << 10;

// A key, and what its attributes say of the value's type: `city`, `"city"`, `"city" string="true"`.
struct Key {
    std::string name;
    std::string_view is_string;  // "true", "false" or empty
};

Key parse_key(std::string_view text) {
    text = trimmed(text);
    Key key;
    const size_t attribute = text.find(" string=");
    if (attribute != std::string_view::npos) {
        key.is_string = text.substr(attribute).find("true") != std::string_view::npos ? "true" : "false";
        text = trimmed(text.substr(0, attribute));
    }
    const bool quoted = text.size() >= 2 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
    key.name = quoted ? text.substr(1, text.size() - 2) : text;
    return key;
}

class TaggedReader : public CallReader {
  public:
    TaggedReader(const TaggedSyntax& syntax, const ToolSchemas& tools, bool inside_call)
        : syntax_(syntax), tools_(tools), phase_(inside_call ? Phase::kName : Phase::kBlock) {}

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        switch (phase_) {
            case Phase::kBlock:
                return block(text, ended);
            case Phase::kName:
                return name(text, out);
            case Phase::kParameters:
                return parameters(text, ended, out);
            case Phase::kKey:
                return key(text, out);
            case Phase::kValueBegin:
                return value_begin(text, ended);
            case Phase::kValue:
                return value(text, ended, out);
        }
        return std::nullopt;
    }
    bool done() const override { return done_; }
    void finish(DeltaWriter& out) override {
        if (phase_ == Phase::kValue) end_value(out);
        if (phase_ != Phase::kBlock && phase_ != Phase::kName) end_call(out);
        done_ = true;
    }

  private:
    enum class Phase { kBlock, kName, kParameters, kKey, kValueBegin, kValue };

    std::optional<size_t> end_block(size_t taken) {
        done_ = true;
        return taken;
    }

    // Between calls.
    std::optional<size_t> block(std::string_view text, bool ended) {
        if (syntax_.call_begin.empty() && std::exchange(name_next_, false)) {
            phase_ = Phase::kName;
            return 0;
        }
        const size_t begin = space_end(text);
        const std::string_view rest = text.substr(begin);
        if (rest.empty()) return ended ? end_block(begin) : std::nullopt;
        const Match ends = begins_markup(rest, syntax_.block_end, ended);
        if (ends == Match::kYes) return end_block(std::min(begin + syntax_.block_end.size(), text.size()));
        const Match calls = syntax_.call_begin.empty() ? Match::kNo : begins_with(rest, syntax_.call_begin, ended);
        if (calls == Match::kYes) {
            phase_ = Phase::kName;
            return begin + syntax_.call_begin.size();
        }
        if (ends == Match::kMaybe || calls == Match::kMaybe) return std::nullopt;
        return end_block(0);
    }

    std::optional<size_t> name(std::string_view text, DeltaWriter& out) {
        size_t end = std::min(text.find(syntax_.name_end), text.size());
        size_t taken = end + syntax_.name_end.size();
        // A call may also go on, or end, where its name should have ended.
        for (const std::string_view mark : {syntax_.parameter_begin, syntax_.call_end, syntax_.block_end}) {
            const size_t at = mark.empty() ? std::string_view::npos : text.find(mark);
            if (at < end) taken = end = at;
        }
        if (end == text.size()) {
            if (text.size() <= kLongestName) return std::nullopt;
            return end_block(text.size());
        }
        function_ = parse_key(text.substr(0, end)).name;
        if (function_.empty()) return end_block(taken);
        out.begin_call(function_);
        any_parameter_ = false;
        phase_ = Phase::kParameters;
        return taken;
    }

    std::optional<size_t> parameters(std::string_view text, bool ended, DeltaWriter& out) {
        const size_t begin = space_end(text);
        const std::string_view rest = text.substr(begin);
        if (rest.empty()) return std::nullopt;
        const Match next = begins_with(rest, syntax_.parameter_begin, ended);
        if (next == Match::kYes) {
            phase_ = Phase::kKey;
            return begin + syntax_.parameter_begin.size();
        }
        const Match ends = begins_with(rest, syntax_.block_end, ended);
        if (ends == Match::kYes) {
            end_call(out);
            return end_block(begin + syntax_.block_end.size());
        }
        const Match closes = syntax_.call_end.empty() ? Match::kNo : begins_with(rest, syntax_.call_end, ended);
        if (closes == Match::kYes) {
            end_call(out);
            phase_ = Phase::kBlock;
            return begin + syntax_.call_end.size();
        }
        if (next == Match::kMaybe || ends == Match::kMaybe || closes == Match::kMaybe) return std::nullopt;
        return begin + 1;  // belongs to nothing
    }

    std::optional<size_t> key(std::string_view text, DeltaWriter& out) {
        const size_t end = text.find(syntax_.key_end);
        if (end == std::string_view::npos) {
            if (text.size() <= kLongestName) return std::nullopt;
            phase_ = Phase::kParameters;
            return text.size();
        }
        const Key key = parse_key(text.substr(0, end));
        types_ = tools_.types_of(function_, key.name);
        if (key.is_string == "true") types_ = {.string = true, .known = true};
        if (key.is_string == "false") types_.string = false;
        out.arguments((std::exchange(any_parameter_, true) ? ", \"" : "{\"") + json_escaped(key.name) + "\": ");
        streams_ = types_.only_string();
        opened_ = false;
        held_.clear();
        phase_ = syntax_.value_begin.empty() ? Phase::kValue : Phase::kValueBegin;
        value_next_ = true;
        return end + syntax_.key_end.size();
    }

    std::optional<size_t> value_begin(std::string_view text, bool ended) {
        const size_t begin = space_end(text);
        if (begin == text.size() && !ended) return std::nullopt;
        const Match match = begins_with(text.substr(begin), syntax_.value_begin, ended);
        if (match == Match::kMaybe) return std::nullopt;
        phase_ = Phase::kValue;
        return match == Match::kYes ? begin + syntax_.value_begin.size() : 0;
    }

    // What the value's end is followed by: only then is it one, since a value may hold such text itself.
    Match follows(std::string_view text, bool ended) const {
        const std::string_view rest = text.substr(space_end(text));
        if (rest.empty()) return ended ? Match::kYes : Match::kMaybe;
        Match best = Match::kNo;
        for (const std::string_view mark : {syntax_.parameter_begin, syntax_.call_end, syntax_.block_end}) {
            const Match match = mark.empty() ? Match::kNo : begins_with(rest, mark, ended);
            if (match == Match::kYes) return match;
            if (match == Match::kMaybe) best = match;
        }
        return best;
    }

    // Whether the value ends here: at its own mark, or, where that is missing, at the end of the call and the block.
    Match ends_at(std::string_view text, bool ended, size_t& taken) const {
        const Match own = begins_with(text, syntax_.value_end, ended);
        if (own != Match::kNo) {
            taken = syntax_.value_end.size();
            return own == Match::kYes ? follows(text.substr(taken), ended) : own;
        }
        taken = 0;
        if (syntax_.call_end.empty()) return Match::kNo;
        const Match call = begins_with(text, syntax_.call_end, ended);
        if (call != Match::kYes) return call;
        const std::string_view behind = text.substr(syntax_.call_end.size());
        const std::string_view rest = behind.substr(space_end(behind));
        if (rest.empty()) return ended ? Match::kYes : Match::kMaybe;
        return begins_with(rest, syntax_.block_end, ended);
    }

    std::optional<size_t> value(std::string_view text, bool ended, DeltaWriter& out) {
        if (text.empty()) return std::nullopt;
        if (std::exchange(value_next_, false) && syntax_.lines && text[0] == '\n') return 1;
        for (size_t at = 0; at < text.size(); ++at) {
            // The line break before the end goes with it.
            const size_t mark = at + (syntax_.lines && text[at] == '\n' ? 1 : 0);
            size_t taken = 0;
            Match match = mark < text.size() ? Match::kNo : Match::kMaybe;
            if (mark < text.size() && text[mark] == '<') match = ends_at(text.substr(mark), ended, taken);
            const bool cut =
                ended && (is_cut(text.substr(mark), syntax_.value_end) || is_cut(text.substr(mark), syntax_.call_end));
            if (match == Match::kNo && !cut) continue;
            if (match == Match::kMaybe && ended && !cut) continue;
            if (at > 0) {
                take_value(text.substr(0, at), out);
                return at;
            }
            if (cut) return text.size();
            if (match == Match::kMaybe) return std::nullopt;
            end_value(out);
            phase_ = Phase::kParameters;
            return mark + taken;
        }
        take_value(text, out);
        return text.size();
    }

    void take_value(std::string_view text, DeltaWriter& out) {
        if (!streams_) {
            held_ += text;
            // What cannot be the beginning of another value, or is too much to hold, is a string.
            const size_t begin = space_end(held_);
            const bool possible =
                begin == held_.size() ||
                std::string_view("{[\"-0123456789tfnTFN").find(held_[begin]) != std::string_view::npos;
            if (possible && held_.size() <= kMostHeld) return;
            streams_ = true;
            text = held_;
        }
        std::string piece = std::exchange(opened_, true) ? "" : "\"";
        piece += json_escaped(text);
        out.arguments(piece);
        held_.clear();
    }

    void end_value(DeltaWriter& out) {
        if (!streams_) {
            out.arguments(json_value(held_, types_));
        } else {
            out.arguments(opened_ ? "\"" : "\"\"");
        }
    }

    void end_call(DeltaWriter& out) {
        if (phase_ == Phase::kValueBegin) out.arguments("null");
        out.arguments(any_parameter_ ? "}" : "{}");
    }

    TaggedSyntax syntax_;
    const ToolSchemas& tools_;
    Phase phase_;
    std::string function_;
    ValueTypes types_;
    std::string held_;        // of a value whose type the end decides
    bool name_next_ = true;   // no call was read yet
    bool value_next_ = true;  // nothing of the value was read yet
    bool any_parameter_ = false;
    bool streams_ = false, opened_ = false;  // the value is a string, passed on as it comes; its quote is written
    bool done_ = false;
};

}  // namespace

std::unique_ptr<CallReader> tagged_reader(const TaggedSyntax& syntax, const ToolSchemas& tools, bool inside_call) {
    return std::make_unique<TaggedReader>(syntax, tools, inside_call);
}

}  // namespace sluice::output
