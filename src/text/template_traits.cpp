#include "text/conversation.h"

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

// Words that no template has in it.
constexpr const char* kFirst = "qzfirstqz";
constexpr const char* kSecond = "qzsecondqz";
constexpr const char* kTool = "qztoolqz";
constexpr const char* kKey = "qzkeyqz";

Json message(const char* role, const char* content) {
    return {{"role", role}, {"content", content}};
}

Json tool() {
    return Json::parse(R"({"type": "function", "function": {"name": "qztoolqz", "description": "Text.", "parameters":
        {"type": "object", "properties": {"qzkeyqz": {"type": "string", "description": "Text."}}, "required": []}}})");
}

// A call and its result.
Json called(const Json& arguments, bool parts) {
    Json call = {{"id", "call00001"}, {"type", "function"}, {"function", {{"name", kTool}, {"arguments", arguments}}}};
    Json assistant = message("assistant", "");
    assistant["tool_calls"] = Json::array({call});
    Json result = message("tool", kSecond);
    result["tool_call_id"] = "call00001";
    result["name"] = kTool;
    if (parts) result["content"] = Json::array({{{"type", "text"}, {"text", kSecond}}});
    return Json::array({message("user", "Text."), assistant, result});
}

class Probe {
  public:
    explicit Probe(const TryRender& render) : render_(render) {}

    // Whether the messages are rendered with all of the words in them, in this order.
    bool shows(const Json& messages, std::initializer_list<const char*> words, const Json& tools = nullptr) {
        Json variables = {{"messages", messages}, {"tools", tools}};
        text_ = render_(variables).value_or(std::string());
        if (text_.empty()) return false;
        size_t at = 0;
        for (const char* word : words) {
            at = text_.find(word, at);
            if (at == std::string::npos) return false;
        }
        return true;
    }
    bool last_has(const std::string& text) const { return text_.find(text) != std::string::npos; }

  private:
    const TryRender& render_;
    std::string text_;
};

}  // namespace

TemplateTraits find_traits(const TryRender& render, std::string_view source) {
    Probe probe(render);
    TemplateTraits traits;
    const Json user = message("user", "Text.");
    const Json answer = message("assistant", "Text.");
    const Json parts = {{"role", "user"}, {"content", Json::array({{{"type", "text"}, {"text", kFirst}}})}};
    traits.content_parts =
        !probe.shows(Json::array({message("user", kFirst)}), {kFirst}) && probe.shows(Json::array({parts}), {kFirst});
    if (traits.content_parts) return traits;  // what else it takes cannot be asked for in texts
    const Json first = message("system", kFirst);
    const Json second = message("system", kSecond);
    traits.system = probe.shows(Json::array({first, user}), {kFirst});
    traits.several_systems = traits.system && probe.shows(Json::array({first, second, user}), {kFirst, kSecond});
    const Json asked = message("user", kTool);
    traits.late_system = traits.system && probe.shows(Json::array({asked, answer, first, user}), {kTool, kFirst}) &&
                         probe.shows(Json::array({asked, first, answer, user, second}), {kTool, kFirst, kSecond});
    traits.developer = probe.shows(Json::array({message("developer", kFirst), user}), {kFirst}) &&
                       probe.shows(Json::array({first, user, message("developer", kSecond), user}), {kFirst, kSecond});
    traits.repeated_roles =
        probe.shows(Json::array({message("user", kFirst), message("user", kSecond)}), {kFirst, kSecond}) &&
        probe.shows(Json::array({user, message("assistant", kFirst), message("assistant", kSecond), user}),
                    {kFirst, kSecond});
    traits.assistant_first = probe.shows(Json::array({message("assistant", kFirst), user}), {kFirst});
    traits.tools = probe.shows(Json::array({user}), {kTool, kKey}, Json::array({tool()}));
    // Python's own way to write a dict, or text inside of text, shows the wrong form.
    const Json tools = Json::array({tool()});
    const Json arguments = {{kKey, kFirst}};
    const std::string key = kKey;
    traits.argument_objects =
        probe.shows(called(arguments, false), {kTool, kFirst, kSecond}, tools) && !probe.last_has("'" + key + "'");
    const bool texts = probe.shows(called(arguments.dump(), false), {kTool, kFirst, kSecond}, tools) &&
                       !probe.last_has("\\\"" + key + "\\\"");
    traits.calls = traits.argument_objects || texts;
    traits.thinking = source.find(".thinking") != std::string_view::npos;
    return traits;
}

}  // namespace sluice
