#include "checkpoint/model_config.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/architecture.h"
#include "checkpoint/json_fields.h"

namespace sluice {

namespace {

std::string supported_types() {
    std::set<std::string_view> names;
    for (const Architecture* architecture : architectures()) {
        names.insert(architecture->model_types.begin(), architecture->model_types.end());
    }
    std::string text;
    for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
    return text;
}

// Settings beside text_config, where nobody looks for them.
void refuse_rope_outside(const JsonFields& top, const JsonFields& inner) {
    for (const char* name : {"rope_scaling", "rope_parameters"}) {
        const std::optional<JsonFields> outside = top.object(name);
        if (!outside || (inner.has(name) && inner.raw()[name] == outside->raw())) continue;
        const std::string type = outside->string_or(outside->has("rope_type") ? "rope_type" : "type", "default");
        if (type == "default") continue;
        top.reject(ErrorCode::kInvalidFile, name, "stands beside text_config, whose settings count; move it in there");
    }
}

}  // namespace

int64_t ModelConfig::streams() const {
    return std::visit([](const auto& kind) { return kind.streams; }, residual);
}

const MixtureConfig* ModelConfig::mixture_of(int64_t layer) const {
    return std::get_if<MixtureConfig>(&layers[static_cast<size_t>(layer)].feed_forward);
}

int64_t ModelConfig::experts() const {
    const auto* mixture = first_block<MixtureConfig>(*this);
    return mixture == nullptr ? 0 : mixture->experts;
}

int64_t ModelConfig::experts_per_token() const {
    const auto* mixture = first_block<MixtureConfig>(*this);
    return mixture == nullptr ? 0 : mixture->experts_per_token;
}

ModelConfig parse_model_config(std::string_view text, const std::string& label) {
    const nlohmann::json json = parse_json(text, label);
    const JsonFields top(json, label);
    // Models that also see nest what the text model needs, its own model_type included.
    const JsonFields fields = top.object("text_config").value_or(top);
    ModelConfig config;
    config.model_type = top.string_or("model_type", "");
    const std::string inner = fields.string_or("model_type", config.model_type);
    config.architecture = find_architecture(inner);
    if (inner.empty()) {
        fields.reject(ErrorCode::kUnsupported, "model_type", "missing; these are supported: {}", supported_types());
    }
    if (config.architecture == nullptr) {
        fields.reject(ErrorCode::kUnsupported, "model_type", "\"{}\" is not supported; these are: {}", inner,
                      supported_types());
    }
    if (config.model_type.empty()) config.model_type = inner;
    refuse_rope_outside(top, fields);
    config.architecture->read(fields, config);
    config.tied_embeddings = fields.boolean_or("tie_word_embeddings", top.boolean_or("tie_word_embeddings", false));
    return config;
}

ModelConfig read_model_config(const std::filesystem::path& folder) {
    return parse_model_config(read_config_text(folder), (folder / "config.json").string());
}

}  // namespace sluice
