#include "grammar/uri_reference.h"

#include <cctype>
#include <vector>

namespace sluice::grammar {

namespace {

// The length of "scheme:", or 0.
size_t scheme_length(std::string_view uri) {
    const size_t colon = uri.find_first_of(":/?");
    if (colon == std::string_view::npos || colon == 0 || uri[colon] != ':') return 0;
    return std::isalpha(static_cast<unsigned char>(uri[0])) != 0 ? colon + 1 : 0;
}

// Where the path begins, past scheme and authority.
size_t path_begin(std::string_view uri) {
    const size_t scheme = scheme_length(uri);
    if (uri.substr(scheme, 2) != "//") return scheme;
    return std::min(uri.find_first_of("/?", scheme + 2), uri.size());
}

std::string remove_dots(std::string_view path) {
    std::vector<std::string_view> parts;
    for (size_t at = 0; at < path.size();) {
        const size_t end = std::min(path.find('/', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        const bool last = end == path.size();
        if (part == "..") {
            if (parts.size() > 1) parts.pop_back();
            if (last) parts.emplace_back();
        } else if (part != ".") {
            parts.push_back(part);
        } else if (last) {
            parts.emplace_back();
        }
        at = end + 1;
        if (end + 1 == path.size()) parts.emplace_back();
    }
    std::string result;
    for (size_t i = 0; i < parts.size(); ++i) result.append(i == 0 ? "" : "/").append(parts[i]);
    return result;
}

}  // namespace

std::string resolve_uri(std::string_view base, std::string_view reference) {
    if (reference.empty()) return std::string(base);
    if (scheme_length(reference) > 0) return std::string(reference);
    const size_t begin = path_begin(base);
    if (reference.starts_with("//")) return std::string(base.substr(0, scheme_length(base))).append(reference);
    std::string result(base.substr(0, begin));
    if (reference.starts_with('/')) return result + remove_dots(reference);
    std::string_view path = base.substr(begin);
    path = path.substr(0, path.find('?'));
    if (reference.starts_with('?')) return result.append(path).append(reference);
    const size_t slash = path.rfind('/');
    const std::string folder(slash == std::string_view::npos ? "" : path.substr(0, slash + 1));
    return result + remove_dots(folder + std::string(reference));
}

std::string decode_percent(std::string_view text) {
    const auto digit = [](char c) {
        return std::isdigit(static_cast<unsigned char>(c)) != 0 ? c - '0' : (c | 0x20) - 'a' + 10;
    };
    const auto is_digit = [&](size_t at) {
        return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    std::string result;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && is_digit(i + 1) && is_digit(i + 2)) {
            result.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
            i += 2;
        } else {
            result.push_back(text[i]);
        }
    }
    return result;
}

}  // namespace sluice::grammar
