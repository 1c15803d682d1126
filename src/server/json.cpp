#include "server/json.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "base/json.h"
#include "sluice/error.h"

namespace sluice::server {

namespace {

constexpr size_t kDepth = 511;
// Lists of token ids have few bytes a value.
constexpr uint64_t kBytesPerValue = 2;

bool is_whole(const Json& value) {
    if (value.is_number_integer()) return true;
    return value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>();
}

}  // namespace

std::string to_text(const Json& value) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json parse_body(std::string_view body) {
    Json value;
    try {
        value = parse_ordered_json(
            body, "body",
            {.bytes = std::numeric_limits<uint64_t>::max(), .depth = kDepth, .bytes_per_value = kBytesPerValue});
    } catch (const Error& error) {
        throw ApiError(400, error.what());
    }
    if (!value.is_object()) throw ApiError(400, "body: must be a JSON object");
    return value;
}

Fields Fields::of(const Json& value, const std::string& path) {
    if (!value.is_object()) throw bad_field(path, "must be an object");
    return Fields(value, path);
}

const Json* Fields::find(std::string_view name) const {
    const auto at = object_->find(name);
    return at == object_->end() || at->is_null() ? nullptr : &*at;
}

std::string Fields::path(std::string_view name) const {
    return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Fields::fail(std::string_view name, std::string_view why) const {
    throw bad_field(path(name), why);
}

std::optional<double> Fields::number(std::string_view name, double low, double high) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_number() || value->get<double>() < low || value->get<double>() > high) {
        fail(name, fmt::format("must be a number from {} to {}", low, high));
    }
    return value->get<double>();
}

std::optional<int64_t> Fields::integer(std::string_view name, int64_t low, int64_t high) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    // Clients of JavaScript write large numbers with an exponent.
    const bool whole = value->is_number() && is_whole(*value);
    const double rough = whole ? value->get<double>() : 0;
    if (!whole || rough < static_cast<double>(low) || rough > static_cast<double>(high)) {
        fail(name, high == std::numeric_limits<int64_t>::max()
                       ? fmt::format("must be an integer of at least {}", low)
                       : fmt::format("must be an integer from {} to {}", low, high));
    }
    if (rough >= 9.2e18) return high;
    return value->get<int64_t>();
}

std::optional<bool> Fields::boolean(std::string_view name) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    if (!value->is_boolean()) fail(name, "must be true or false");
    return value->get<bool>();
}

const std::string* Fields::text(std::string_view name) const {
    const Json* value = find(name);
    if (value == nullptr) return nullptr;
    if (!value->is_string()) fail(name, "must be a string");
    return &value->get_ref<const std::string&>();
}

const std::string& Fields::needed_text(std::string_view name) const {
    const std::string* value = text(name);
    if (value == nullptr) fail(name, "is missing; a string is needed");
    return *value;
}

const Json* Fields::array(std::string_view name) const {
    const Json* value = find(name);
    if (value != nullptr && !value->is_array()) fail(name, "must be an array");
    return value;
}

const Json* Fields::object(std::string_view name) const {
    const Json* value = find(name);
    if (value != nullptr && !value->is_object()) fail(name, "must be an object");
    return value;
}

std::vector<std::string> Fields::texts(std::string_view name, size_t most, bool one_allowed) const {
    const Json* value = find(name);
    if (value == nullptr) return {};
    const std::string why =
        fmt::format("must be {}an array of up to {} strings", one_allowed ? "a string or " : "", most);
    if (value->is_string() && one_allowed) return {value->get<std::string>()};
    if (!value->is_array() || value->size() > most) fail(name, why);
    std::vector<std::string> all;
    for (const Json& each : *value) {
        if (!each.is_string()) fail(name, why);
        all.push_back(each.get<std::string>());
    }
    return all;
}

}  // namespace sluice::server
