#include "text/output/tagged_answer.h"

#include <algorithm>
#include <string>
#include <vector>

namespace sluice::output {

namespace {

constexpr size_t kMostSpace = size_t{64} << 10;  // bytes of white space that are held

class TaggedAnswer : public AnswerReader {
  public:
    TaggedAnswer(const OutputFormat& format, const AnswerStart& start)
        : format_(format), tools_(start.tools), phase_(start.reasoning_open ? Phase::kReasoning : Phase::kStart) {
        drop_space_ = start.reasoning_open;
        if (start.calls) {
            for (const CallOpener& opener : format.openers) marks_.push_back({opener.mark, &opener});
            for (const std::string_view frame : format.frames) marks_.push_back({frame, nullptr});
        }
        // Of two marks at one place the longer one is meant.
        std::ranges::stable_sort(marks_, [](const Mark& a, const Mark& b) { return a.text.size() > b.text.size(); });
    }

    std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) override {
        switch (phase_) {
            case Phase::kStart:
                return start(text, ended);
            case Phase::kReasoning:
                return block(text, ended, OutputPart::kReasoning, out);
            case Phase::kContent:
                return block(text, ended, OutputPart::kContent, out);
            case Phase::kCall:
                return call(text, ended, out);
        }
        return std::nullopt;
    }

    void finish(DeltaWriter& out) override {
        if (phase_ == Phase::kCall) reader_->finish(out);
        if (phase_ != Phase::kCall && phase_ != Phase::kReasoning) out.text(OutputPart::kContent, space_);
    }

    bool in_reasoning() const override { return phase_ == Phase::kReasoning; }

  private:
    enum class Phase { kStart, kReasoning, kContent, kCall };
    struct Mark {
        std::string_view text;
        const CallOpener* opener;  // null: a frame
    };
    struct Found {
        size_t at;
        Match match = Match::kNo;
        const Mark* mark = nullptr;  // null: the end of the reasoning
    };

    // Before the first text of the answer, or after calls or reasoning.
    std::optional<size_t> start(std::string_view text, bool ended) {
        const size_t begin = space_end(text);
        if (begin > 0) {
            hold_space(text.substr(0, begin));
            return begin;
        }
        if (text.empty()) return std::nullopt;
        const Match match = begins_with(text, format_.reasoning_begin, ended);
        if (match == Match::kMaybe) return std::nullopt;
        if (match == Match::kYes) {
            enter(Phase::kReasoning);
            return format_.reasoning_begin.size();
        }
        if (ended && is_cut(text, format_.reasoning_begin)) return text.size();
        phase_ = Phase::kContent;
        return 0;
    }

    std::optional<size_t> block(std::string_view text, bool ended, OutputPart part, DeltaWriter& out) {
        if (text.empty()) return std::nullopt;
        if (const size_t begin = space_end(text); begin > 0 && !text_begun_) {
            hold_space(text.substr(0, begin));
            return begin;
        }
        const Found found = find(text, ended, part == OutputPart::kReasoning);
        if (found.at > 0) {
            take(part, text.substr(0, found.at), out);
            return found.at;
        }
        if (found.match == Match::kMaybe && !ended) return std::nullopt;
        space_.clear();
        if (found.match == Match::kMaybe) return text.size();
        if (found.mark == nullptr) {
            enter(Phase::kStart);
            return format_.reasoning_end.size();
        }
        const std::string_view mark = found.mark->text;
        if (found.mark->opener == nullptr) {
            enter(part == OutputPart::kReasoning ? Phase::kReasoning : Phase::kStart);
            return mark.size();
        }
        reader_ = found.mark->opener->reader(tools_, text.substr(mark.size()));
        back_ = part == OutputPart::kReasoning ? Phase::kReasoning : Phase::kStart;
        phase_ = Phase::kCall;
        return found.mark->opener->keep ? 0 : mark.size();
    }

    std::optional<size_t> call(std::string_view text, bool ended, DeltaWriter& out) {
        if (reader_->done()) {
            reader_.reset();
            enter(back_);
            return 0;
        }
        return reader_->step(text, ended, out);
    }

    // The first mark, or the first place where one may begin; kMaybe at the end of an answer: a mark cut short.
    Found find(std::string_view text, bool ended, bool reasoning) const {
        for (size_t at = 0; at < text.size(); ++at) {
            const std::string_view rest = text.substr(at);
            if (reasoning) {
                const Found end = match(rest, format_.reasoning_end, at, ended);
                if (end.match != Match::kNo) return end;
            }
            for (const Mark& mark : marks_) {
                if (mark.opener != nullptr && mark.opener->at_start && (at > 0 || text_begun_)) continue;
                Found found = match(rest, mark.text, at, ended);
                if (found.match == Match::kYes && mark.opener != nullptr && mark.opener->confirm != nullptr) {
                    found.match = mark.opener->confirm(rest.substr(mark.text.size()), ended);
                }
                found.mark = &mark;
                if (found.match != Match::kNo) return found;
            }
        }
        return {text.size()};
    }

    static Found match(std::string_view text, std::string_view mark, size_t at, bool ended) {
        if (ended && is_cut(text, mark)) return {at, Match::kMaybe};
        return {at, begins_with(text, mark, ended)};
    }

    void enter(Phase phase) {
        phase_ = phase;
        space_.clear();
        drop_space_ = true;
        text_begun_ = false;
    }

    void hold_space(std::string_view text) {
        if (!drop_space_) space_ += text;
    }

    // White space is text once other text follows it in the same block.
    void take(OutputPart part, std::string_view text, DeltaWriter& out) {
        const size_t end = text.find_last_not_of(kSpace) + 1;
        if (end > 0) {
            out.text(part, space_);
            out.text(part, text.substr(0, end));
            space_.clear();
            text_begun_ = true;
            text.remove_prefix(end);
        }
        space_ += text;
        if (space_.size() > kMostSpace) {
            out.text(part, std::string_view(space_).substr(0, space_.size() - kMostSpace));
            space_.erase(0, space_.size() - kMostSpace);
        }
    }

    const OutputFormat& format_;
    const ToolSchemas& tools_;
    Phase phase_;
    Phase back_ = Phase::kStart;  // after calls
    std::vector<Mark> marks_;
    std::unique_ptr<CallReader> reader_;
    std::string space_;        // held
    bool drop_space_ = false;  // what comes before the block's text
    bool text_begun_ = false;  // of the block
};

}  // namespace

std::unique_ptr<AnswerReader> tagged_answer(const OutputFormat& format, const AnswerStart& start) {
    return std::make_unique<TaggedAnswer>(format, start);
}

}  // namespace sluice::output
