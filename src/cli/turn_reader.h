#pragma once

#include <memory>
#include <string>

namespace sluice::cli {

// What a person said next.
struct Turn {
    enum class Kind {
        kText,
        kGivenUp,  // a line that Ctrl-C took back
        kEnd       // nothing more will come
    };
    Kind kind = Kind::kEnd;
    std::string text = {};  // of several lines, where they were pasted or joined
};

// Where turns come from. Lines that end in a backslash go on in the next one. One thread.
class TurnReader {
  public:
    TurnReader() = default;
    virtual ~TurnReader() = default;
    TurnReader(const TurnReader&) = delete;
    TurnReader& operator=(const TurnReader&) = delete;

    Turn read();

  protected:
    // One line, or a paste of several. `goes_on`: it is the rest of one that ended in a backslash.
    virtual Turn read_line(bool goes_on) = 0;
};

// Standard input as it comes; `prompts`: somebody sits there.
std::unique_ptr<TurnReader> plain_reader(bool prompts);

}  // namespace sluice::cli
