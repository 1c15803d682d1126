#pragma once

#include <string>
#include <string_view>

namespace sluice {

// Of a file that should be `wanted` ("a safetensors file"): what stands in its place after a download that went wrong,
// told by how the file begins and in the words of an error behind its name. Empty where it is nothing of the kind.
std::string stand_in_text(std::string_view beginning, std::string_view wanted);

}  // namespace sluice
