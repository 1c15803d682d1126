// gpt-oss (harmony): messages with a header that names the channel and, for a call, whom it goes to:
// <|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>

#include <algorithm>
#include <array>
#include <utility>

#include "text/output/formats/formats.h"
#include "text/output/json_relay.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 1> kMarks = {"<|channel|>"};
constexpr std::array<std::string_view, 7> kFrames = {"<|channel|>", "<|start|>",  "<|message|>", "<|constrain|>",
                                                     "<|end|>",     "<|return|>", "<|call|>"};
constexpr std::string_view kMessage = "<|message|>";
constexpr std::string_view kTo = " to=";
constexpr size_t kLongestHeader = size_t{64} << 10;

// The word that follows `mark` in the header.
std::string_view word_after(std::string_view header, std::string_view mark) {
    const size_t at = header.find(mark);
    if (at == std::string_view::npos) return {};
    header.remove_prefix(at + mark.size());
    header.remove_prefix(space_end(header));
    return header.substr(0, header.find_first_of(" \t\n\r<"));
}

class HarmonyAnswer : public AnswerReader {
  public:
    explicit HarmonyAnswer(const AnswerStart& start)
        : tools_(start.tools), calls_(start.calls), phase_(start.reasoning_open ? Phase::kBody : Phase::kBegin) {
        if (start.reasoning_open) part_ = OutputPart::kReasoning;
    }

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        if (text.empty()) return std::nullopt;
        switch (phase_) {
            case Phase::kBegin:
                return begin(text, ended);
            case Phase::kHeader:
                return header(text, out);
            case Phase::kBody:
                return body(text, ended, out);
        }
        return std::nullopt;
    }
    void finish(DeltaWriter& out) override { end_message(out); }
    bool in_reasoning() const override { return phase_ != Phase::kBody || part_ == OutputPart::kReasoning; }

  private:
    enum class Phase { kBegin, kHeader, kBody };

    // Before a message. Text without a header is for the reader.
    std::optional<size_t> begin(std::string_view text, bool ended) {
        bool may_be = begins_with(text, kTo, ended) == Match::kMaybe;
        bool is = text.starts_with(kTo);
        for (const std::string_view mark : kFrames) {
            const Match match = begins_with(text, mark, ended);
            if (ended && is_cut(text, mark)) return text.size();
            is = is || match == Match::kYes;
            may_be = may_be || match == Match::kMaybe;
        }
        if (!is && may_be) return std::nullopt;
        for (const std::string_view end : {"<|end|>", "<|return|>", "<|call|>"}) {
            if (text.starts_with(end)) return end.size();
        }
        phase_ = is ? Phase::kHeader : Phase::kBody;
        part_ = OutputPart::kContent;
        return 0;
    }

    std::optional<size_t> header(std::string_view text, DeltaWriter& out) {
        for (size_t at = 0; at < text.size(); ++at) {
            header_ += text[at];
            if (!header_.ends_with(kMessage) && header_.size() <= kLongestHeader) continue;
            begin_message(out);
            return at + 1;
        }
        return text.size();
    }

    void begin_message(DeltaWriter& out) {
        const std::string header = std::exchange(header_, {});
        const std::string_view channel = word_after(header, "<|channel|>");
        std::string_view recipient = word_after(header, "to=");
        constexpr std::string_view kFunctions = "functions.";
        const bool function = recipient.starts_with(kFunctions) || tools_.has(recipient);
        if (recipient.starts_with(kFunctions)) recipient.remove_prefix(kFunctions.size());
        phase_ = Phase::kBody;
        part_ = channel == "analysis" ? OutputPart::kReasoning : OutputPart::kContent;
        if (function && calls_ && !recipient.empty()) {
            part_ = OutputPart::kToolCall;
            relay_ = JsonRelay();
            out.begin_call(std::string(recipient));
        }
        parted_ = true;
    }

    std::optional<size_t> body(std::string_view text, bool ended, DeltaWriter& out) {
        for (size_t at = 0; at < text.size(); ++at) {
            if (text[at] != '<') continue;
            const std::string_view rest = text.substr(at);
            for (const std::string_view mark : kFrames) {
                const bool cut = ended && is_cut(rest, mark);
                const Match match = begins_with(rest, mark, ended);
                if (match == Match::kNo && !cut) continue;
                if (at > 0) {
                    take(text.substr(0, at), out);
                    return at;
                }
                if (match == Match::kMaybe) return std::nullopt;
                if (cut) return text.size();
                return end_at(mark, out);
            }
        }
        take(text, out);
        return text.size();
    }

    size_t end_at(std::string_view mark, DeltaWriter& out) {
        if (mark == "<|message|>" || mark == "<|constrain|>") return mark.size();
        end_message(out);
        phase_ = Phase::kBegin;
        return mark == "<|start|>" || mark == "<|channel|>" ? 0 : mark.size();
    }

    void take(std::string_view text, DeltaWriter& out) {
        if (part_ == OutputPart::kToolCall) {
            std::string piece;
            for (const char byte : text) {
                if (!relay_.begun() && byte != '{') continue;
                if (!relay_.feed(byte, piece)) break;
            }
            out.arguments(piece);
            return;
        }
        // Two messages of one kind are two paragraphs.
        bool& begun = part_ == OutputPart::kReasoning ? reasoning_begun_ : content_begun_;
        if (std::exchange(parted_, false) && begun) out.text(part_, "\n\n");
        begun = true;
        out.text(part_, text);
    }

    void end_message(DeltaWriter& out) {
        if (phase_ != Phase::kBody || part_ != OutputPart::kToolCall) return;
        std::string rest;
        relay_.close(rest);
        out.arguments(rest);
    }

    const ToolSchemas& tools_;
    bool calls_;
    Phase phase_;
    OutputPart part_ = OutputPart::kContent;
    std::string header_;
    JsonRelay relay_;
    bool parted_ = false;  // a message has begun, and nothing of its text was written
    bool reasoning_begun_ = false, content_begun_ = false;
};

}  // namespace

const OutputFormat kGptOss = {
    .name = "gpt-oss",
    .template_marks = kMarks,
    .reasoning_begin = "",
    .reasoning_end = "",
    .frames = kFrames,
    .prompt_in_reasoning = "<|channel|>analysis<|message|>",
    .reader = [](const OutputFormat&, const AnswerStart& start) -> std::unique_ptr<AnswerReader> {
        return std::make_unique<HarmonyAnswer>(start);
    },
    .call_frame = [](std::string_view function, size_t index) -> CallFrame {
        const std::string start = index == 0 ? "" : "<|start|>assistant";
        return {start + "<|channel|>commentary to=functions." + std::string(function) + " <|constrain|>json<|message|>",
                "<|call|>"};
    },
    .text_begin = "<|channel|>final<|message|>",
};

}  // namespace sluice::output
