#include "checkpoint/json_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"

namespace sluice {

namespace {

using nlohmann::json;

constexpr uint64_t kLargestConfigFile = uint64_t{64} << 20;

std::optional<int64_t> as_integer(const json& value) {
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    if (!value.is_number_integer()) return std::nullopt;
    return value.get<int64_t>();
}

// Text without control characters: it may end up in a message of one line.
std::optional<std::string> as_line(const json& value) {
    if (!value.is_string()) return std::nullopt;
    auto text = value.get<std::string>();
    const bool plain = std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
    return plain ? std::optional(std::move(text)) : std::nullopt;
}

}  // namespace

std::string read_config_file(const std::filesystem::path& path) {
    return without_non_finite(read_text_file(path, kLargestConfigFile));
}

std::string read_config_text(const std::filesystem::path& folder) {
    return read_config_file(folder / "config.json");
}

std::string one_line(std::string text) {
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
    return text;
}

JsonFields::JsonFields(const json& object, std::string label, std::string path)
    : object_(&object), label_(std::move(label)), path_(std::move(path)) {
    if (object.is_object()) return;
    const std::string where = path_.empty() ? label_ : label_ + ": " + one_line(path_.substr(0, path_.size() - 1));
    fail(ErrorCode::kInvalidFile, "{}: {} where an object belongs", where, object.type_name());
}

const json* JsonFields::find(std::string_view name) const {
    const auto found = object_->find(name);
    return found == object_->end() || found->is_null() ? nullptr : &*found;
}

const json& JsonFields::require(std::string_view name) const {
    const json* value = find(name);
    if (value != nullptr) return *value;
    const std::string kind = has("model_type") ? string_or("model_type", "") : "";
    if (kind.empty()) reject(ErrorCode::kInvalidFile, name, "missing");
    reject(ErrorCode::kInvalidFile, name, "missing, but a model of model_type {} needs it", one_line(kind));
}

int64_t JsonFields::integer(std::string_view name, int64_t least, int64_t most) const {
    const std::optional<int64_t> value = as_integer(require(name));
    if (!value || *value < least || *value > most) {
        reject(ErrorCode::kInvalidFile, name, "a whole number from {} to {} belongs here", least, most);
    }
    return *value;
}

int64_t JsonFields::integer_or(std::string_view name, int64_t fallback, int64_t least, int64_t most) const {
    return has(name) ? integer(name, least, most) : fallback;
}

double JsonFields::number(std::string_view name) const {
    const json& value = require(name);
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
        reject(ErrorCode::kInvalidFile, name, "a number belongs here");
    }
    return value.get<double>();
}

double JsonFields::number_or(std::string_view name, double fallback) const {
    return has(name) ? number(name) : fallback;
}

bool JsonFields::boolean_or(std::string_view name, bool fallback) const {
    const json* value = find(name);
    if (value == nullptr) return fallback;
    if (!value->is_boolean()) reject(ErrorCode::kInvalidFile, name, "true or false belongs here");
    return value->get<bool>();
}

std::string JsonFields::string_or(std::string_view name, std::string_view fallback) const {
    const json* value = find(name);
    if (value == nullptr) return std::string(fallback);
    const std::optional<std::string> text = as_line(*value);
    if (!text) reject(ErrorCode::kInvalidFile, name, "a string of one line belongs here");
    return *text;
}

std::vector<std::string> JsonFields::strings(std::string_view name) const {
    const json* value = find(name);
    std::vector<std::string> items;
    if (value == nullptr) return items;
    if (!value->is_array()) reject(ErrorCode::kInvalidFile, name, "a list of strings belongs here");
    for (const json& item : *value) {
        const std::optional<std::string> text = as_line(item);
        if (!text) reject(ErrorCode::kInvalidFile, name, "a list of strings of one line belongs here");
        items.push_back(*text);
    }
    return items;
}

std::vector<int64_t> JsonFields::integers(std::string_view name) const {
    const json* value = find(name);
    std::vector<int64_t> items;
    if (value == nullptr) return items;
    if (!value->is_array()) reject(ErrorCode::kInvalidFile, name, "a list of whole numbers belongs here");
    for (const json& item : *value) {
        const std::optional<int64_t> number = as_integer(item);
        if (!number) reject(ErrorCode::kInvalidFile, name, "a list of whole numbers belongs here");
        items.push_back(*number);
    }
    return items;
}

std::vector<double> JsonFields::numbers(std::string_view name) const {
    const json* value = find(name);
    std::vector<double> items;
    if (value == nullptr) return items;
    if (!value->is_array()) reject(ErrorCode::kInvalidFile, name, "a list of numbers belongs here");
    for (const json& item : *value) {
        if (!item.is_number()) reject(ErrorCode::kInvalidFile, name, "a list of numbers belongs here");
        items.push_back(item.get<double>());
    }
    return items;
}

std::optional<JsonFields> JsonFields::object(std::string_view name) const {
    const json* value = find(name);
    if (value == nullptr) return std::nullopt;
    return JsonFields(*value, label_, path_of(name) + ".");
}

}  // namespace sluice
