// An answer, read in one piece and cut in two at every place of a few: the first byte chooses the format, the second
// how it is read, the rest is the text. Both readings must add up to the same, and arguments must be JSON.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/output_parser.h"
#include "unicode/utf8.h"

namespace {

constexpr std::string_view kTools = R"([
    {"function": {"name": "f", "parameters": {"properties": {"s": {"type": "string"}, "n": {"type": "integer"}}}}},
    {"function": {"name": "g"}}])";

struct Answer {
    std::string content, reasoning;
    std::vector<std::pair<std::string, std::string>> calls;
    bool operator==(const Answer&) const = default;

    void add(const std::vector<sluice::OutputDelta>& deltas) {
        for (const sluice::OutputDelta& delta : deltas) {
            if (delta.part == sluice::OutputPart::kContent) content += delta.text;
            if (delta.part == sluice::OutputPart::kReasoning) reasoning += delta.text;
            if (delta.part != sluice::OutputPart::kToolCall) continue;
            if (!delta.name.empty()) calls.emplace_back(delta.name, "");
            if (calls.size() != delta.call + 1) std::abort();
            calls.back().second += delta.text;
        }
    }
};

Answer read(const sluice::OutputFormat& format, const sluice::OutputParserOptions& options, std::string_view first,
            std::string_view second) {
    sluice::OutputParser parser(format, options);
    Answer answer;
    answer.add(parser.push(first));
    answer.add(parser.push(second));
    answer.add(parser.finish());
    return answer;
}

// Half of a surrogate pair is JSON, but none that the library reads.
bool is_object(const std::string& text) {
    return text.find("\\u") != std::string::npos || nlohmann::json::parse(text, nullptr, false).is_object();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const std::vector<std::string_view> names = sluice::output_format_names();
    const sluice::OutputFormat& format = *sluice::find_output_format(names[data[0] % names.size()]);
    const sluice::OutputParserOptions options = {
        .tools = kTools, .reasoning_open = (data[1] & 1) != 0, .calls = (data[1] & 2) == 0};
    const std::string text =
        sluice::utf8::sanitize(std::string_view(reinterpret_cast<const char*>(data) + 2, size - 2));
    const Answer whole = read(format, options, text, "");
    for (const auto& [name, arguments] : whole.calls) {
        if (name.empty() || !is_object(arguments)) std::abort();
    }
    constexpr size_t kCuts = 16;
    for (size_t i = 1; i < kCuts; ++i) {
        size_t cut = text.size() * i / kCuts;
        while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
        if (read(format, options, text.substr(0, cut), std::string_view(text).substr(cut)) != whole) std::abort();
    }
    return 0;
}
