#pragma once

#include "text/output/call_reader.h"

namespace sluice::output {

// Calls whose parameters stand in tags of their own, their values as bare text:
// <call_begin>name<name_end> <parameter_begin>key<key_end><value_begin>value<value_end> ... <call_end> <block_end>
struct TaggedSyntax {
    std::string_view call_begin;  // empty: the name follows the opening mark
    std::string_view name_end;
    std::string_view parameter_begin;
    std::string_view key_end;
    std::string_view value_begin;  // may be empty
    std::string_view value_end;
    std::string_view call_end;   // empty: the block's end
    std::string_view block_end;  // of all calls
    bool lines = false;          // a value stands on lines of its own: one line break at each end is not part of it
};

// `inside_call`: the opening mark was call_begin itself.
std::unique_ptr<CallReader> tagged_reader(const TaggedSyntax& syntax, const ToolSchemas& tools, bool inside_call);

}  // namespace sluice::output
