#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace sluice::server {

// Keeps the order of members, which templates and schemas mean something by.
using Json = nlohmann::ordered_json;

// One line; what is not valid UTF-8 becomes U+FFFD.
std::string to_text(const Json& value);

// The body of a request: one JSON object, within limits. Throws a 400.
Json parse_body(std::string_view body);

// Members of an object that a client sent. What is left out and what is null are the same; what is of the wrong type or
// out of range throws a 400 that names its path.
class Fields {
  public:
    // `object` must outlive this.
    explicit Fields(const Json& object, std::string path = {}) : object_(&object), path_(std::move(path)) {}
    // The same of a value that should be an object.
    static Fields of(const Json& value, const std::string& path);

    const Json* find(std::string_view name) const;  // null where there is none
    std::string path(std::string_view name) const;
    [[noreturn]] void fail(std::string_view name, std::string_view why) const;

    std::optional<double> number(std::string_view name, double low, double high) const;
    std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high) const;
    std::optional<bool> boolean(std::string_view name) const;
    const std::string* text(std::string_view name) const;  // null where there is none
    const std::string& needed_text(std::string_view name) const;
    const Json* array(std::string_view name) const;
    const Json* object(std::string_view name) const;
    // A text or a list of up to `most` texts.
    std::vector<std::string> texts(std::string_view name, size_t most, bool one_allowed = true) const;

  private:
    const Json* object_;
    std::string path_;
};

}  // namespace sluice::server
