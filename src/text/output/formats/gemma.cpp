// Gemma 4: <|tool_call>call:name{key:<|"|>text<|"|>,other:1}<tool_call|>; FunctionGemma: <start_function_call>,
// <escape> and <end_function_call> in their places.

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "text/output/formats/formats.h"
#include "text/output/json_relay.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {

constexpr size_t kLongestHeader = size_t{64} << 10;
constexpr std::array<std::string_view, 2> kQuotes = {"<|\"|>", "<escape>"};

// Writes the arguments as JSON, character by character, into a relay.
class GemmaReader : public CallReader {
  public:
    explicit GemmaReader(std::string_view close) : close_(close) {}

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        if (phase_ == Phase::kHeader) return header(text, out);
        if (phase_ == Phase::kClose) return close(text, ended);
        std::string piece;
        const std::optional<size_t> taken = quote_.empty() ? outside(text, ended, piece) : inside(text, ended, piece);
        if (relay_.complete() || relay_.broken()) {
            relay_.close(piece);
            phase_ = Phase::kClose;
        }
        out.arguments(piece);
        return taken;
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
    enum class Phase { kHeader, kArguments, kClose };

    std::optional<size_t> header(std::string_view text, DeltaWriter& out) {
        const size_t brace = std::min(text.find('{'), text.find('<'));
        if (brace == std::string_view::npos) {
            if (text.size() <= kLongestHeader) return std::nullopt;
            phase_ = Phase::kClose;
            return text.size();
        }
        std::string_view name = trimmed(text.substr(0, brace));
        if (name.starts_with("call:")) name = trimmed(name.substr(5));
        phase_ = name.empty() ? Phase::kClose : Phase::kArguments;
        if (!name.empty()) out.begin_call(std::string(name));
        if (text[brace] == '<' && !name.empty()) {
            out.arguments("{}");
            phase_ = Phase::kClose;
        }
        return brace;
    }

    // Everything up to the closing mark belongs to the call.
    std::optional<size_t> close(std::string_view text, bool ended) {
        if (text.empty()) return std::nullopt;
        const size_t mark = text.find('<');
        if (mark > 0) return std::min(mark, text.size());
        const Match match = begins_with(text, close_, ended);
        if (match == Match::kMaybe) return std::nullopt;
        done_ = match == Match::kYes;
        return done_ ? close_.size() : 1;
    }

    std::optional<size_t> inside(std::string_view text, bool ended, std::string& piece) {
        if (text.empty()) return std::nullopt;
        for (size_t at = 0; at < text.size(); ++at) {
            Match match = Match::kNo;
            if (text[at] == quote_[0]) match = begins_with(text.substr(at), quote_, ended);
            if (match == Match::kMaybe || (ended && is_cut(text.substr(at), quote_))) {
                return at > 0 ? std::optional(at) : std::nullopt;
            }
            if (match == Match::kYes) {
                relay_.feed('"', piece);
                return at + std::exchange(quote_, {}).size();
            }
            if (text[at] == '"' || text[at] == '\\') relay_.feed('\\', piece);
            relay_.feed(text[at], piece);
        }
        return text.size();
    }

    std::optional<size_t> outside(std::string_view text, bool ended, std::string& piece) {
        if (text.empty()) return std::nullopt;
        if (in_json_string_) {
            relay_.feed(text[0], piece);
            in_json_string_ = escaped_ || text[0] != '"';
            escaped_ = !escaped_ && text[0] == '\\';
            return 1;
        }
        for (const std::string_view quote : kQuotes) {
            const Match match = begins_with(text, quote, ended);
            if (match == Match::kMaybe) return std::nullopt;
            if (match == Match::kNo) continue;
            quote_ = quote;
            key_next_ = false;
            relay_.feed('"', piece);
            return quote.size();
        }
        const char byte = text[0];
        const std::string_view ends = key_next_ ? ":}" : ",}]";
        const bool punctuation = std::string_view("{}[],:").find(byte) != std::string_view::npos;
        if (!punctuation && byte != '"' && kSpace.find(byte) == std::string_view::npos) {
            word_ += byte;
        } else if (!word_.empty() && ends.find(byte) == std::string_view::npos) {
            word_ += byte;  // a word of several
        } else {
            end_word(piece);
            in_json_string_ = byte == '"';
            if (byte == '{' || byte == '[') nested_ += byte;
            if ((byte == '}' || byte == ']') && !nested_.empty()) nested_.pop_back();
            if (punctuation) key_next_ = (byte == '{' || byte == ',') && nested_.ends_with('{');
            relay_.feed(byte, piece);
        }
        if (word_.size() > kMostHeld) end_word(piece);
        return 1;
    }

    // A bare word is a key, a number or a constant; anything else is taken for a string.
    void end_word(std::string& piece) {
        const std::string word(trimmed(std::exchange(word_, {})));
        if (word.empty()) return;
        const bool bare = !key_next_ && nlohmann::json::accept(word);
        for (const char byte : bare ? word : '"' + json_escaped(word) + '"') relay_.feed(byte, piece);
    }

    std::string_view close_;
    Phase phase_ = Phase::kHeader;
    JsonRelay relay_;
    std::string nested_;      // open brackets
    std::string word_;        // a key or a value without quotes
    std::string_view quote_;  // of the string that is open
    bool key_next_ = false;   // in an object, before a colon
    bool in_json_string_ = false, escaped_ = false;
    bool done_ = false;
};

template <bool kFunctionGemma>
std::unique_ptr<CallReader> call(const ToolSchemas&, std::string_view) {
    return std::make_unique<GemmaReader>(kFunctionGemma ? "<end_function_call>" : "<tool_call|>");
}

constexpr std::array<std::string_view, 4> kMarks = {"<|tool_call>", "<|turn>", "<start_of_turn>",
                                                    "<start_function_call>"};
constexpr std::array<std::string_view, 6> kFrames = {"<tool_call|>", "<end_function_call>", "<|\"|>",
                                                     "<escape>",     "<|tool_response>",    "<channel|>"};
constexpr std::array<CallOpener, 2> kOpeners = {{
    {.mark = "<|tool_call>", .reader = call<false>},
    {.mark = "<start_function_call>", .reader = call<true>},
}};

}  // namespace

const OutputFormat kGemma = {
    .name = "gemma",
    .template_marks = kMarks,
    .reasoning_begin = "<|channel>thought",
    .reasoning_end = "<channel|>",
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function, size_t) -> CallFrame {
        return {"<|tool_call>call:" + std::string(function), "<tool_call|>"};
    },
};

}  // namespace sluice::output
