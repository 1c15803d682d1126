#include "cli/answer_printer.h"

#include <unistd.h>

#include "base/log.h"
#include "cli/terminal.h"

namespace sluice::cli {

AnswerPrinter::AnswerPrinter(Output& output, bool quiet)
    : output_(output), quiet_(quiet), terminal_(Output::is_terminal()), colours_(has_colours(STDOUT_FILENO)) {}

AnswerPrinter::~AnswerPrinter() {
    try {
        begin(OutputPart::kContent);
        output_.write("\n");
    } catch (...) {
        // A full drive has ended the answer already, with a message of its own.
    }
}

bool AnswerPrinter::print(const OutputDelta& delta) {
    if (delta.text.empty()) return output_.open();
    return begin(delta.part) && write(terminal_ ? without_controls(delta.text) : delta.text);
}

// Sets reasoning apart from what comes before and after it.
bool AnswerPrinter::begin(OutputPart part) {
    if (part == part_) return output_.open();
    std::string between;
    if (part_ == OutputPart::kReasoning) between = colours_ ? std::string(kNormal) + "\n\n" : "\n\n";
    if (between.empty() && reasoned_) between = "\n\n";
    const bool open = write(between);
    part_ = part;
    if (part != OutputPart::kReasoning) return open;
    reasoned_ = true;
    return write(colours_ ? std::string(kDim) : std::string());
}

bool AnswerPrinter::write(const std::string& text) {
    if (part_ != OutputPart::kReasoning || terminal_) return output_.write(text);
    if (!quiet_) tell("{}", text);
    return output_.open();
}

}  // namespace sluice::cli
