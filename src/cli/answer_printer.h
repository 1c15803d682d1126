#pragma once

#include <string>

#include "cli/output.h"
#include "sluice/output_parser.h"

namespace sluice::cli {

// An answer as it comes: the text on stdout; the reasoning before it on the same terminal, dimmed, or on stderr where
// stdout is none. One for each answer; the end closes its line.
class AnswerPrinter {
  public:
    // `quiet`: no reasoning on stderr.
    AnswerPrinter(Output& output, bool quiet);
    ~AnswerPrinter();
    AnswerPrinter(const AnswerPrinter&) = delete;
    AnswerPrinter& operator=(const AnswerPrinter&) = delete;

    // False once nobody reads any more.
    bool print(const OutputDelta& delta);

  private:
    bool begin(OutputPart part);
    bool write(const std::string& text);

    Output& output_;
    const bool quiet_, terminal_, colours_;
    OutputPart part_ = OutputPart::kContent;
    bool reasoned_ = false;
};

}  // namespace sluice::cli
