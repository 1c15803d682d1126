#pragma once

#include <memory>
#include <string_view>

#include "text/output/call_reader.h"

namespace sluice::output {

// A list of calls as Python writes them, [f(key="value", other=[1, None]), g()], from its bracket on. Arguments without
// a name end the call they stand in.
std::unique_ptr<CallReader> python_reader();

// Whether what follows the bracket is such a list: a name, and an argument with its name or none.
Match python_call_follows(std::string_view after, bool ended);

}  // namespace sluice::output
