#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace sluice {

// A config.json, or that of a folder, as text. Throws kNotFound, kIo, or kInvalidFile for one of absurd size.
std::string read_config_file(const std::filesystem::path& path);
std::string read_config_text(const std::filesystem::path& folder);

// The text with control characters replaced, so that a message stays one line.
std::string one_line(std::string text);

// Typed access to the fields of one JSON object. A field that is null counts as absent. Errors are kInvalidFile and
// name the file and the field by its full path. The object must outlive this view.
class JsonFields {
  public:
    // `path` is that of the object within the file: "" or "text_config.".
    JsonFields(const nlohmann::json& object, std::string label, std::string path = "");

    bool has(std::string_view name) const { return find(name) != nullptr; }
    // Whole numbers within [least, most]; the first form throws when the field is absent.
    int64_t integer(std::string_view name, int64_t least, int64_t most) const;
    int64_t integer_or(std::string_view name, int64_t fallback, int64_t least, int64_t most) const;
    double number(std::string_view name) const;
    double number_or(std::string_view name, double fallback) const;
    bool boolean_or(std::string_view name, bool fallback) const;
    std::string string_or(std::string_view name, std::string_view fallback) const;
    std::vector<std::string> strings(std::string_view name) const;  // empty when absent
    std::vector<int64_t> integers(std::string_view name) const;     // empty when absent
    std::vector<double> numbers(std::string_view name) const;       // empty when absent
    std::optional<JsonFields> object(std::string_view name) const;

    const nlohmann::json& raw() const { return *object_; }
    const std::string& label() const { return label_; }
    std::string path_of(std::string_view name) const { return path_ + std::string(name); }

    // Throws with "FILE: FIELD: " before the text.
    template <typename... Args>
    [[noreturn]] void reject(ErrorCode code, std::string_view name, fmt::format_string<Args...> format,
                             Args&&... args) const {
        fail(code, "{}: {}: {}", label_, one_line(path_of(name)), fmt::format(format, std::forward<Args>(args)...));
    }

  private:
    const nlohmann::json* find(std::string_view name) const;
    const nlohmann::json& require(std::string_view name) const;

    const nlohmann::json* object_;
    std::string label_;
    std::string path_;
};

}  // namespace sluice
