// A chat template and the variables it is rendered with: text up to a zero byte is the template, the rest, if any, is
// JSON. Anything may come out but a crash, a hang or a leak.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "jinja/template.h"

namespace {

constexpr std::string_view kVariables = R"({
  "messages": [{"role": "system", "content": "Be <b>kind</b>."}, {"role": "user", "content": "Grüße 👋"},
               {"role": "assistant", "content": null,
                "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": [1.5, null, true]}}}]}],
  "tools": [{"function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}],
  "bos_token": "<s>", "n": [3, 1, 2], "text": "a b\nc"})";

// Small, so that a run is over soon; as deep as in earnest, so that the stack is tried.
constexpr sluice::jinja::Limits kLimits{.steps = 200'000, .bytes = size_t{16} << 20};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    const size_t end = std::min(input.find('\0'), input.size());
    const std::string_view variables = end < input.size() ? input.substr(end + 1) : kVariables;
    try {
        const sluice::jinja::Template parsed = sluice::jinja::parse(input.substr(0, end), "fuzz");
        sluice::jinja::render(parsed, {}, variables, kLimits);
    } catch (const sluice::Error&) {
    }
    return 0;
}
