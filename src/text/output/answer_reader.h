#pragma once

#include <memory>
#include <string_view>

#include "text/output/delta_writer.h"
#include "text/output/tool_schemas.h"

namespace sluice::output {

// What an answer reader is made with. The schemas outlive it.
struct AnswerStart {
    const ToolSchemas& tools;
    bool reasoning_open;
    bool calls;
};

// Reads a whole answer.
class AnswerReader {
  public:
    virtual ~AnswerReader() = default;
    AnswerReader() = default;
    AnswerReader(const AnswerReader&) = delete;
    AnswerReader& operator=(const AnswerReader&) = delete;

    // As CallReader::step.
    virtual std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) = 0;
    virtual void finish(DeltaWriter& out) = 0;
    virtual bool in_reasoning() const = 0;
};

}  // namespace sluice::output
