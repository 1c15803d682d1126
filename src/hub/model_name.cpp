#include "hub/model_name.h"

#include <algorithm>
#include <vector>

namespace sluice::hub {

namespace {

std::vector<std::string_view> parts_of(std::string_view text) {
    std::vector<std::string_view> parts;
    while (true) {
        const size_t slash = text.find('/');
        parts.push_back(text.substr(0, slash));
        if (slash == std::string_view::npos) return parts;
        text.remove_prefix(slash + 1);
    }
}

bool is_plain(std::string_view part) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
    };
    return !part.empty() && part.front() != '.' && part.front() != '-' &&
           std::all_of(part.begin(), part.end(), allowed);
}

}  // namespace

std::optional<ModelName> read_model_name(std::string_view text) {
    std::vector<std::string_view> parts = parts_of(text);
    ModelName name;
    std::string_view& last = parts[parts.size() > 1 ? 1 : 0];
    if (const size_t at = last.find('@'); at != std::string_view::npos) {
        name.revision = last.substr(at + 1);
        last = last.substr(0, at);
        if (!is_plain(name.revision)) return std::nullopt;
    }
    if (!is_plain(parts[0]) || !is_plain(last)) return std::nullopt;
    name.repository = parts[0];
    if (parts.size() > 1) name.repository.append("/").append(parts[1]);
    for (size_t i = 2; i < parts.size(); ++i) name.file.append(i > 2 ? "/" : "").append(parts[i]);
    if (parts.size() > 2 && !is_safe_file(name.file)) return std::nullopt;
    return name;
}

bool is_safe_file(std::string_view name) {
    const std::vector<std::string_view> parts = parts_of(name);
    return std::all_of(parts.begin(), parts.end(), [](std::string_view part) {
        const bool steers = std::any_of(part.begin(), part.end(),
                                        [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\\'; });
        return !part.empty() && part != "." && part != ".." && !steers && part.size() <= 255;
    });
}

}  // namespace sluice::hub
