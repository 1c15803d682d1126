#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "text/output/delta_writer.h"
#include "text/output/match.h"
#include "text/output/tool_schemas.h"

namespace sluice::output {

// Reads the calls that follow one opening mark.
class CallReader {
  public:
    virtual ~CallReader() = default;
    CallReader() = default;
    CallReader(const CallReader&) = delete;
    CallReader& operator=(const CallReader&) = delete;

    // Reads on at the beginning of `text`: the bytes it takes, or nothing where more must come first. `ended`: nothing
    // comes after `text`. What it decides depends on the text alone, not on how much of it is there.
    virtual std::optional<size_t> step(std::string_view text, bool ended, DeltaWriter& out) = 0;
    virtual bool done() const = 0;
    // The answer ends here: completes the arguments of a call that has begun.
    virtual void finish(DeltaWriter& out) = 0;
};

// A mark that begins calls.
struct CallOpener {
    std::string_view mark;
    // A reader for what begins with `after`, the text behind the mark.
    std::unique_ptr<CallReader> (*reader)(const ToolSchemas& tools, std::string_view after);
    // Whether `after` is that of a call; otherwise the mark is text. None: always.
    Match (*confirm)(std::string_view after, bool ended) = nullptr;
    bool at_start = false;  // only with nothing but white space before it
    bool keep = false;      // the mark itself is the reader's
};

}  // namespace sluice::output
