#pragma once

#include <string>

#include "text/output/call_reader.h"
#include "text/output/json_relay.h"

namespace sluice::output {

// {"name": "f", "arguments": {...}} as it comes: the members in any order, `parameters` for `arguments`, arguments that
// are a string of JSON.
class CallEnvelope {
  public:
    // False: the character is not part of it.
    bool feed(char byte, DeltaWriter& out);
    void finish(DeltaWriter& out);
    bool complete() const { return phase_ == Phase::kComplete; }
    bool broken() const { return phase_ == Phase::kBroken; }

  private:
    enum class Phase {
        kOpen,
        kKey,
        kInKey,
        kColon,
        kValue,
        kName,
        kArguments,
        kText,
        kOther,
        kNext,
        kComplete,
        kBroken
    };

    bool begin_value(char byte, DeltaWriter& out);
    void take_quoted(char byte, DeltaWriter& out);
    bool take_arguments(char byte, DeltaWriter& out);
    void take_text(char byte, DeltaWriter& out);
    void take_decoded(char byte, DeltaWriter& out);
    void close_arguments(DeltaWriter& out);
    void write(std::string_view text, DeltaWriter& out);
    void end(DeltaWriter& out);

    Phase phase_ = Phase::kOpen;
    std::string quoted_;  // a key or the name, as written, with its quotes
    std::string key_;
    bool escaped_ = false;
    bool named_ = false;
    bool has_arguments_ = false;
    std::string early_;  // of arguments, before the name is known
    JsonRelay arguments_;
    JsonRelay other_;
};

// Envelopes, one after the other, in a list or not, up to the closing mark or to what is none.
std::unique_ptr<CallReader> envelope_reader(std::string_view close);

// Calls whose name stands before their arguments, as in `name<sep>{...}<close>`.
struct HeaderSyntax {
    std::string_view close;  // may be empty
    // The function, from all that stands before the arguments; empty where there is none.
    std::string (*function)(std::string_view header, const ToolSchemas& tools);
};
std::unique_ptr<CallReader> header_reader(const HeaderSyntax& syntax, const ToolSchemas& tools);

}  // namespace sluice::output
