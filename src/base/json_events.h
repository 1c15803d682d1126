#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace sluice {

using JsonEvents = nlohmann::json_sax<nlohmann::json>;

// Calls `events` as the text is read, until one of its functions returns false or throws. For what is read without
// making a tree of it.
void read_json_events(std::string_view text, JsonEvents& events);

// What the parser says of a text that is no JSON, or what it is instead, in one line of printable ASCII.
std::string json_error_text(std::string_view text, size_t position, const nlohmann::detail::exception& error);

}  // namespace sluice
