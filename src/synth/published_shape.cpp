#include "synth/published_shape.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/json_fields.h"

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

// What says how published weights are stored.
constexpr const char* kLeftOut[] = {"quantization", "quantization_config", "compression_config"};
// A random text ends when it was told to.
constexpr const char* kTokens[] = {"bos_token_id", "eos_token_id"};

Json settings_of(const SynthShape& shape) {
    return Json::parse(shape.published);
}

constinit const SynthLayout kPublishedLayout = {.class_name = "", .settings = settings_of};

Json& text_settings(Json& config) {
    return config.contains("text_config") ? config["text_config"] : config;
}

void tidy(Json& fields) {
    for (const char* name : kLeftOut) fields.erase(name);
    for (const char* name : kTokens) {
        if (fields.contains(name)) fields[name] = nullptr;
    }
}

// Of a list of layers' numbers, those that are cut off; some count from 1.
void drop_layers_beyond(Json& numbers, size_t layers) {
    Json kept = Json::array();
    for (const Json& number : numbers) {
        if (!number.is_number_integer() || number.get<int64_t>() <= static_cast<int64_t>(layers))
            kept.push_back(number);
    }
    numbers = kept;
}

// Lists and words of a letter or an entry per layer, and perhaps some more for layers of another kind.
void cut_lists(Json& fields, size_t before, size_t layers) {
    for (auto& [name, value] : fields.items()) {
        if (value.is_object()) cut_lists(value, before, layers);
        if (value.is_array() && name.ends_with("_layers")) drop_layers_beyond(value, layers);
        if (value.is_array() && value.size() >= before) {
            const size_t more = value.size() - before;
            if (more <= 1)
                value.erase(value.begin() + static_cast<ptrdiff_t>(layers), value.end() - static_cast<ptrdiff_t>(more));
        }
        if (value.is_string() && name.find("pattern") != std::string::npos) {
            const auto& letters = value.get_ref<const std::string&>();
            if (letters.size() == before) value = letters.substr(0, layers);
        }
    }
}

SynthShape shape_of(const Json& config, const std::string& label) {
    SynthShape shape;
    shape.name = label;
    shape.layout = &kPublishedLayout;
    shape.published = config.dump();
    shape.config = parse_model_config(shape.published, label);
    return shape;
}

}  // namespace

SynthShape read_published_shape(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::path file = std::filesystem::is_directory(path, error) ? path / "config.json" : path;
    return published_shape(read_config_file(file), file.string());
}

SynthShape published_shape(std::string_view text, const std::string& label) {
    Json config = parse_ordered_json(text, label);
    tidy(config);
    tidy(text_settings(config));
    return shape_of(config, label);
}

SynthShape cut_published_shape(const SynthShape& shape, int64_t layers) {
    Json config = Json::parse(shape.published);
    Json& fields = text_settings(config);
    cut_lists(fields, shape.config.layers.size(), static_cast<size_t>(layers));
    fields["num_hidden_layers"] = layers;
    SynthShape cut = shape_of(config, shape.name);
    if (cut.config.experts() == 0) {
        fail(ErrorCode::kUsage, "`layers` {}: the first {} layers of {} have no experts; take more", layers, layers,
             shape.name);
    }
    return cut;
}

}  // namespace sluice
