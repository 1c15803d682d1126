#include <fmt/ranges.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/output_parser.h"

namespace sluice::cli {

namespace {

using Json = nlohmann::ordered_json;

// One delta as a server streams it.
Json delta_json(const OutputDelta& delta) {
    switch (delta.part) {
        case OutputPart::kContent:
            return {{"content", delta.text}};
        case OutputPart::kReasoning:
            return {{"reasoning_content", delta.text}};
        case OutputPart::kToolCall:
            break;
    }
    Json call = {{"index", delta.call}};
    if (!delta.name.empty()) call["name"] = delta.name;
    call["arguments"] = delta.text;
    return {{"tool_calls", Json::array({std::move(call)})}};
}

const OutputFormat& format_of(const Json& answer) {
    const OutputFormat* format = nullptr;
    if (answer.contains("format") && answer["format"].is_string()) {
        format = find_output_format(answer["format"].get_ref<const std::string&>());
    }
    if (format == nullptr) {
        fail(ErrorCode::kInvalidFile, "`format` must be one of {}", fmt::join(output_format_names(), ", "));
    }
    return *format;
}

Json parse_answer(const Json& answer) {
    if (!answer.is_object()) fail(ErrorCode::kInvalidFile, "not a JSON object");
    const OutputFormat& format = format_of(answer);
    const bool has_pieces = answer.contains("pieces") && answer["pieces"].is_array();
    if (!has_pieces) fail(ErrorCode::kInvalidFile, "`pieces` must be a list of texts");
    const std::string tools = answer.contains("tools") ? answer["tools"].dump() : std::string();
    const bool open = answer.contains("open") && answer["open"].is_boolean() && answer["open"].get<bool>();
    OutputParser parser(format, {.tools = tools, .reasoning_open = open});
    Json deltas = Json::array();
    const auto add = [&](const std::vector<OutputDelta>& made) {
        for (const OutputDelta& delta : made) deltas.push_back(delta_json(delta));
    };
    for (const Json& piece : answer["pieces"]) {
        if (!piece.is_string()) fail(ErrorCode::kInvalidFile, "`pieces` must be a list of texts");
        add(parser.push(piece.get_ref<const std::string&>()));
    }
    add(parser.finish());
    return {{"deltas", std::move(deltas)}};
}

void parse_lines() {
    Output output;
    std::string line;
    for (size_t number = 1; output.open() && std::getline(std::cin, line); ++number) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        try {
            const Json answer = Json::parse(line, nullptr, false);
            output.write(parse_answer(answer).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
        } catch (const Error& error) {
            fail(error.code(), "standard input, line {}: {}", number, error.what());
        }
    }
}

}  // namespace

Command declare_parse_output() {
    auto quiet = std::make_shared<bool>(false);
    Command command;
    add_log_flags(command.flags, *quiet);
    command.run = [quiet] { parse_lines(); };
    return command;
}

}  // namespace sluice::cli
