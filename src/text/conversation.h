#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "text/output/output_format.h"

namespace sluice {

// What a chat template does with conversations, found by rendering small ones: true where it neither raises nor leaves
// anything out.
struct TemplateTraits {
    bool system = true;            // a system message at the beginning
    bool several_systems = true;   // more than one there
    bool late_system = true;       // one behind other messages
    bool developer = true;         // the role
    bool tools = true;             // the list of them
    bool calls = true;             // calls and their results in earlier turns
    bool argument_objects = true;  // arguments of calls as objects; else they are JSON text
    bool content_parts = false;    // contents are lists of parts, nothing else
    bool repeated_roles = true;    // two messages of one role that follow each other
    bool assistant_first = true;
    bool thinking = false;  // reasoning of earlier turns is called `thinking`
};

// The text, or nothing where the template raises.
using TryRender = std::function<std::optional<std::string>(const nlohmann::ordered_json& variables)>;
TemplateTraits find_traits(const TryRender& render, std::string_view source);

// How far a conversation is rewritten, should the template refuse it nevertheless.
enum class Rewriting {
    kByTraits,  // what the template is known not to take
    kPlain,     // calls and tools as text, roles in turn
    kOneTurn,   // everything in one message of the user
};

// The variables of a rendering, rewritten: contents become texts; arguments of calls become what the template wants,
// always written alike; tools that lack a description or parameters get empty ones where `plain`. Beyond that:
// - several system messages become one, late ones turns of the user, and any is put before the user's first message
//   where the template knows none; `developer` becomes `system`;
// - tools become a system text that says how to call them; calls and results become text of their turns;
// - neighbours of one role are joined where roles must alternate; who must not begin does not.
// Throws kUsage for messages that are none, with their path.
nlohmann::ordered_json prepare_conversation(const nlohmann::ordered_json& variables, const TemplateTraits& traits,
                                            const OutputFormat& format, Rewriting rewriting);

}  // namespace sluice
