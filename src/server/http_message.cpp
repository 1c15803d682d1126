#include "server/http_message.h"

#include <fmt/core.h>

#include <array>

namespace sluice::server {

namespace {

struct Reason {
    int status;
    std::string_view phrase;
};
constexpr std::array kReasons = {
    Reason{200, "OK"},
    Reason{204, "No Content"},
    Reason{400, "Bad Request"},
    Reason{401, "Unauthorized"},
    Reason{403, "Forbidden"},
    Reason{404, "Not Found"},
    Reason{405, "Method Not Allowed"},
    Reason{408, "Request Timeout"},
    Reason{413, "Payload Too Large"},
    Reason{415, "Unsupported Media Type"},
    Reason{417, "Expectation Failed"},
    Reason{429, "Too Many Requests"},
    Reason{431, "Request Header Fields Too Large"},
    Reason{500, "Internal Server Error"},
    Reason{503, "Service Unavailable"},
};

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
        const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0) {
            out += static_cast<char>(high * 16 + low);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

// A value of ours never ends a line, whatever it was made of.
void add_header(std::string& head, std::string_view name, std::string_view value) {
    head.append(name).append(": ");
    for (const char c : value) head += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
    head += "\r\n";
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return {};
}

bool Request::has(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return true;
    }
    return false;
}

std::string_view reason_phrase(int status) {
    for (const Reason& reason : kReasons) {
        if (reason.status == status) return reason.phrase;
    }
    return "Unknown";
}

std::string path_of_target(std::string_view target) {
    if (const size_t scheme = target.find("://"); scheme != std::string_view::npos && target.front() != '/') {
        const size_t slash = target.find('/', scheme + 3);
        target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    }
    return percent_decoded(target.substr(0, target.find_first_of("?#")));
}

std::string response_head(const Response& response, const HeadOptions& options) {
    std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason_phrase(response.status));
    if (!response.type.empty()) add_header(head, "content-type", response.type);
    for (const auto& [name, value] : response.headers) add_header(head, name, value);
    if (options.length != nullptr) {
        if (response.status != 204) add_header(head, "content-length", std::to_string(*options.length));
    } else if (!options.http_1_0) {
        add_header(head, "transfer-encoding", "chunked");
    }
    if (options.close) add_header(head, "connection", "close");
    return head + "\r\n";
}

std::string chunk_of(std::string_view bytes) {
    if (bytes.empty()) return "0\r\n\r\n";
    std::string chunk = fmt::format("{:x}\r\n", bytes.size());
    chunk.append(bytes).append("\r\n");
    return chunk;
}

}  // namespace sluice::server
