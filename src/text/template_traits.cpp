#include "text/conversation.h"

namespace sluice {

namespace {

using OrderedJson = nlohmann::ordered_json;

// Words that no template has in it.
constexpr const char* kFirst = "qzfirstqz";
constexpr const char* kSecond = "qzsecondqz";
constexpr const char* kTool = "qztoolqz";
constexpr const char* kKey = "qzkeyqz";

OrderedJson message(const char* role, const char* content) {
    return {{"role", role}, {"content", content}};
}

OrderedJson tool() {
    return OrderedJson::parse(
        R"({"type": "function", "function": {"name": "qztoolqz", "description": "Text.", "parameters":
        {"type": "object", "properties": {"qzkeyqz": {"type": "string", "description": "Text."}}, "required": []}}})");
}

// A call and its result.
OrderedJson called(const OrderedJson& arguments, bool parts) {
    OrderedJson call = {
        {"id", "call00001"}, {"type", "function"}, {"function", {{"name", kTool}, {"arguments", arguments}}}};
    OrderedJson assistant = message("assistant", "");
    assistant["tool_calls"] = OrderedJson::array({call});
    OrderedJson result = message("tool", kSecond);
    result["tool_call_id"] = "call00001";
    result["name"] = kTool;
    if (parts) result["content"] = OrderedJson::array({{{"type", "text"}, {"text", kSecond}}});
    return OrderedJson::array({message("user", "Text."), assistant, result});
}

class Probe {
  public:
    explicit Probe(const TryRender& render) : render_(render) {}

    // Whether the messages are rendered with all of the words in them, in this order.
    bool shows(const OrderedJson& messages, std::initializer_list<const char*> words,
               const OrderedJson& tools = nullptr) {
        OrderedJson variables = {{"messages", messages}, {"tools", tools}};
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
    const OrderedJson user = message("user", "Text.");
    const OrderedJson answer = message("assistant", "Text.");
    const OrderedJson parts = {{"role", "user"},
                               {"content", OrderedJson::array({{{"type", "text"}, {"text", kFirst}}})}};
    traits.content_parts = !probe.shows(OrderedJson::array({message("user", kFirst)}), {kFirst}) &&
                           probe.shows(OrderedJson::array({parts}), {kFirst});
    if (traits.content_parts) return traits;  // what else it takes cannot be asked for in texts
    const OrderedJson first = message("system", kFirst);
    const OrderedJson second = message("system", kSecond);
    traits.system = probe.shows(OrderedJson::array({first, user}), {kFirst});
    traits.several_systems = traits.system && probe.shows(OrderedJson::array({first, second, user}), {kFirst, kSecond});
    const OrderedJson asked = message("user", kTool);
    traits.late_system =
        traits.system && probe.shows(OrderedJson::array({asked, answer, first, user}), {kTool, kFirst}) &&
        probe.shows(OrderedJson::array({asked, first, answer, user, second}), {kTool, kFirst, kSecond});
    traits.developer =
        probe.shows(OrderedJson::array({message("developer", kFirst), user}), {kFirst}) &&
        probe.shows(OrderedJson::array({first, user, message("developer", kSecond), user}), {kFirst, kSecond});
    traits.repeated_roles =
        probe.shows(OrderedJson::array({message("user", kFirst), message("user", kSecond)}), {kFirst, kSecond}) &&
        probe.shows(OrderedJson::array({user, message("assistant", kFirst), message("assistant", kSecond), user}),
                    {kFirst, kSecond});
    traits.assistant_first = probe.shows(OrderedJson::array({message("assistant", kFirst), user}), {kFirst});
    traits.tools = probe.shows(OrderedJson::array({user}), {kTool, kKey}, OrderedJson::array({tool()}));
    // Python's own way to write a dict, or text inside of text, shows the wrong form.
    const OrderedJson tools = OrderedJson::array({tool()});
    const OrderedJson arguments = {{kKey, kFirst}};
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
