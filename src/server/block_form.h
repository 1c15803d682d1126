#pragma once

#include <memory>
#include <string>

#include "server/answer.h"

namespace sluice::server {

// A stream of one choice whose pieces come in blocks, one open at a time: of text, of reasoning, of a tool call.
class BlockForm : public AnswerForm {
  public:
    explicit BlockForm(const std::shared_ptr<Exchange>& exchange) : stream_(exchange) {}

    void delta(size_t, const Delta& delta, const ChoiceText& choice) final {
        if (!open_ || part_ != delta.part || call_ != delta.call) {
            close(false);
            open_ = true;
            part_ = delta.part;
            call_ = delta.call;
            text_.clear();
            open_block(part_, part_ == Part::kToolCall ? choice.calls[call_] : CallText());
        }
        if (delta.text.empty()) return;
        text_ += delta.text;
        piece(part_, delta.text);
    }
    void finish_choice(size_t, const ChoiceText& choice) final {
        close(choice.finish == Finish::kLength);
        if (index_ == 0) no_block();
    }
    EventStream* stream() final { return &stream_; }

  protected:
    // `call`: of a block of that kind, without its arguments.
    virtual void open_block(Part part, const CallText& call) = 0;
    virtual void piece(Part part, const std::string& text) = 0;
    // `text`: all of the block; `cut`: the answer ended in it for want of tokens.
    virtual void close_block(Part part, const std::string& text, bool cut) = 0;
    // The answer is empty.
    virtual void no_block() {}

    size_t index() const { return index_; }  // of the block that is open
    EventStream stream_;

  private:
    void close(bool cut) {
        if (!open_) return;
        open_ = false;
        close_block(part_, text_, cut);
        ++index_;
    }

    bool open_ = false;
    Part part_ = Part::kContent;
    size_t call_ = 0, index_ = 0;
    std::string text_;
};

}  // namespace sluice::server
