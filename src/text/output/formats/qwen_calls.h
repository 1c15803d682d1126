#pragma once

#include <array>

#include "text/output/call_reader.h"

namespace sluice::output {

// <tool_call> around JSON or around <function=...>: a model trained on one form now and then writes the other.
extern const std::array<CallOpener, 2> kQwenOpeners;
inline constexpr std::array<std::string_view, 2> kQwenFrames = {"</tool_call>", "</function>"};

}  // namespace sluice::output
