#include "sluice/chat_template.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "gguf/gguf_files.h"
#include "jinja/template.h"
#include "text/conversation.h"
#include "text/gguf_tokenizer.h"
#include "text/tokenizer_config.h"

namespace sluice {

namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;
using jinja::Value;
namespace fs = std::filesystem;

constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;
constexpr JsonLimits kVariableLimits = {.bytes = UINT64_MAX, .depth = 1000, .bytes_per_value = 1};  // the caller's own

// A template and the name under which a checkpoint lists it; the only one of a checkpoint is the default.
struct Named {
    std::string name;
    std::string source;
    jinja::Template parsed;
};

Named read_template(std::string name, std::string source, const std::string& label) {
    jinja::Template parsed = jinja::parse(source, label);
    return {std::move(name), std::move(source), std::move(parsed)};
}

std::vector<Named> templates_of(const Json& config, const fs::path& path) {
    std::vector<Named> found;
    const auto field = config.is_object() ? config.find("chat_template") : config.end();
    if (field == config.end() || field->is_null()) return found;
    const std::string label = path.string() + ": chat_template";
    if (field->is_string()) {
        found.push_back(read_template("default", field->get<std::string>(), label));
        return found;
    }
    if (!field->is_array()) fail(ErrorCode::kInvalidFile, "{}: must be a string or a list", label);
    for (const Json& entry : *field) {
        auto text = [&](const char* key) {
            const bool held = entry.is_object() && entry.contains(key) && entry[key].is_string();
            if (!held) fail(ErrorCode::kInvalidFile, "{}: an entry lacks the string '{}'", label, key);
            return entry[key].get<std::string>();
        };
        const std::string name = text("name");
        found.push_back(read_template(name, text("template"), label + " '" + name + "'"));
    }
    return found;
}

Named template_in(const fs::path& path, std::string name) {
    return read_template(std::move(name), read_text_file(path, kMaxFileBytes), path.string());
}

// Each file of the folder is a template by the name it has; it takes the place of one that has it already.
void add_additional(const fs::path& folder, std::vector<Named>& templates) {
    std::vector<fs::path> files;
    std::error_code none;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, none)) {
        if (entry.path().extension() == ".jinja") files.push_back(entry.path());
    }
    std::ranges::sort(files);
    for (const fs::path& file : files) {
        const std::string name = file.stem().string();
        std::erase_if(templates, [&](const Named& known) { return known.name == name; });
        templates.push_back(template_in(file, name));
    }
}

// A special token is written as a string, or as an object that describes how it is matched.
std::optional<Value> token_text(const Json& token) {
    const auto trusted = [](const Json& text) {
        return Value::string(jinja::SourcedText(text.get<std::string>(), true));
    };
    if (token.is_string()) return trusted(token);
    const bool described = token.is_object() && token.contains("content") && token["content"].is_string();
    if (!described) return std::nullopt;
    return trusted(token["content"]);
}

void add_special_tokens(const Json& config, jinja::Defaults& defaults) {
    if (!config.is_object()) return;
    for (const auto& [name, token] : config.items()) {
        if (name.ends_with("_token")) {
            if (std::optional<Value> text = token_text(token)) defaults.emplace_back(name, *std::move(text));
        } else if (name == "additional_special_tokens" && token.is_array()) {
            Value::Items texts;
            for (const Json& entry : token) {
                if (std::optional<Value> text = token_text(entry)) texts.push_back(*std::move(text));
            }
            defaults.emplace_back(name, Value::list(std::move(texts)));
        } else if (name == "extra_special_tokens") {
            add_special_tokens(token, defaults);
        }
    }
}

jinja::Defaults standard_variables() {
    return {{"tools", Value::none()}, {"documents", Value::none()}, {"add_generation_prompt", Value::boolean(true)}};
}

bool gives_tools(std::string_view variables) {
    const Json given = parse_json(variables, "the variables", kVariableLimits);
    return given.is_object() && given.contains("tools") && !given["tools"].is_null();
}

}  // namespace

struct ChatTemplate::Impl {
    std::vector<Named> templates;
    jinja::Defaults defaults;
    std::string folder;  // for messages

    const OutputFormat* format = nullptr;
    // Of each template, once somebody asks.
    struct Traits {
        std::once_flag found;
        TemplateTraits traits;
    };
    mutable std::vector<Traits> traits;

    // To be called once, with the templates in place.
    void finish() {
        std::string sources;
        for (const Named& entry : templates) sources += entry.source;
        format = &output_format_of(sources);
        traits = std::vector<Traits>(templates.size());
    }

    const TemplateTraits& traits_of(const Named& entry) const {
        Traits& known = traits[static_cast<size_t>(&entry - templates.data())];
        std::call_once(known.found, [&] {
            const TryRender render = [&](const OrderedJson& variables) -> std::optional<std::string> {
                try {
                    return jinja::render(entry.parsed, defaults, variables.dump()).text();
                } catch (const Error&) {
                    return std::nullopt;
                }
            };
            known.traits = find_traits(render, entry.source);
        });
        return known.traits;
    }

    std::vector<PromptSpan> spans(const Named& entry, std::string_view variables) const {
        std::vector<PromptSpan> spans;
        jinja::render(entry.parsed, defaults, variables).for_each_run([&](std::string_view text, bool trusted) {
            spans.push_back({std::string(text), trusted});
        });
        return spans;
    }

    const Named* find(std::string_view name) const {
        for (const Named& entry : templates) {
            if (entry.name == name) return &entry;
        }
        return nullptr;
    }

    const Named& choose(std::string_view variables) const {
        if (templates.size() == 1) return templates[0];
        const Named* with_tools = find("tool_use");
        if (with_tools != nullptr && gives_tools(variables)) return *with_tools;
        if (const Named* standard = find("default")) return *standard;
        std::string names;
        for (const Named& entry : templates) names += (names.empty() ? "'" : ", '") + entry.name + "'";
        fail(ErrorCode::kNotFound, "{}: none of its chat templates ({}) is called 'default'", folder, names);
    }
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::open(const fs::path& folder) {
    auto impl = std::make_unique<Impl>();
    impl->folder = folder.string();
    impl->defaults = standard_variables();
    if (const std::optional<fs::path> gguf = find_gguf_text(folder)) {
        const GgufFile file = GgufFile::open(*gguf);
        add_special_tokens(gguf_special_tokens(file.header), impl->defaults);
        for (const auto& [name, source] : gguf_chat_templates(file.header)) {
            impl->templates.push_back(read_template(name, source, fmt::format("{}: {}", gguf->string(), name)));
        }
        if (impl->templates.empty()) fail(ErrorCode::kNotFound, "{}: no tokenizer.chat_template", gguf->string());
        impl->finish();
        return ChatTemplate(std::move(impl));
    }
    const fs::path config_path = folder / "tokenizer_config.json";
    const Json config = read_tokenizer_config(folder);
    add_special_tokens(config, impl->defaults);

    const fs::path own = folder / "chat_template.jinja";
    const fs::path in_json = folder / "chat_template.json";
    if (fs::exists(own)) {
        impl->templates.push_back(template_in(own, "default"));
    } else if (fs::exists(in_json)) {
        impl->templates = templates_of(read_json_file(in_json), in_json);
    }
    if (impl->templates.empty()) impl->templates = templates_of(config, config_path);
    add_additional(folder / "additional_chat_templates", impl->templates);
    if (impl->templates.empty()) {
        fail(ErrorCode::kNotFound,
             "{}: no chat template (looked for chat_template.jinja, chat_template.json, additional_chat_templates/ and "
             "the field 'chat_template' of tokenizer_config.json)",
             folder.string());
    }
    impl->finish();
    return ChatTemplate(std::move(impl));
}

ChatTemplate ChatTemplate::parse(std::string_view source, const std::string& label) {
    auto impl = std::make_unique<Impl>();
    impl->folder = label;
    impl->defaults = standard_variables();
    impl->templates.push_back(read_template("default", std::string(source), label));
    impl->finish();
    return ChatTemplate(std::move(impl));
}

std::string ChatTemplate::render(std::string_view variables_json) const {
    return jinja::render(impl_->choose(variables_json).parsed, impl_->defaults, variables_json).text();
}

std::vector<PromptSpan> ChatTemplate::render_spans(std::string_view variables_json) const {
    return impl_->spans(impl_->choose(variables_json), variables_json);
}

ChatPrompt ChatTemplate::render_conversation(std::string_view variables_json) const {
    const OrderedJson variables = parse_ordered_json(variables_json, "the variables", kVariableLimits);
    if (!variables.is_object() || !variables.contains("messages")) {
        fail(ErrorCode::kUsage, "a conversation must be an object with `messages`");
    }
    const Named& chosen = impl_->choose(variables_json);
    const TemplateTraits& traits = impl_->traits_of(chosen);
    std::exception_ptr refused;
    for (const Rewriting rewriting : {Rewriting::kByTraits, Rewriting::kPlain, Rewriting::kOneTurn}) {
        const OrderedJson prepared = prepare_conversation(variables, traits, *impl_->format, rewriting);
        try {
            ChatPrompt prompt;
            prompt.spans = impl_->spans(chosen, prepared.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
            prompt.reasoning_open = ends_in_reasoning(*impl_->format, text_of(prompt.spans));
            return prompt;
        } catch (const Error&) {
            if (!refused) refused = std::current_exception();
        }
    }
    std::rethrow_exception(refused);
}

const OutputFormat& ChatTemplate::output_format() const {
    return *impl_->format;
}

}  // namespace sluice
