#pragma once

#include <string>

#include "server/chat_request.h"
#include "server/generation_fields.h"
#include "server/json.h"

namespace sluice::server {

// What chat completions and responses have in common.

// What a body of /v1/chat/completions says.
ChatRequest read_chat_request(const RequestDefaults& defaults, const Fields& fields);

// The text of a content: a string, null, or a list of parts that are texts. Throws a 400 that names the part.
std::string content_text(const Json* content, const std::string& path);

// A function that may be called, from {"name", "description", "parameters"}: in the neutral form.
Json function_tool(const Json& function, const std::string& path);

// The name of a function that a choice names must be among the tools.
void check_tool_named(const Json& tools, const std::string& name, const std::string& field);

// {"type": "text" | "json_object" | "json_schema"}; the schema stands in the format itself or in its `json_schema`.
OutputRule read_format(const Json& format, const std::string& path);

// "auto", "none", "required", or an object whose `name`, or whose function's, is that of a tool.
ToolChoice read_tool_choice(const Fields& fields, const Json& tools);

}  // namespace sluice::server
