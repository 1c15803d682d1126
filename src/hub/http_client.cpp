#include "hub/http_client.h"

// The only file that knows libcurl.
#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace sluice::hub {

namespace {

constexpr long kConnectSeconds = 30;
constexpr long kSilentSeconds = 60;  // without a byte: given up
constexpr long kMostRedirects = 8;
constexpr size_t kMostHeaders = 200;

struct Transfer {
    const HttpRequest* request = nullptr;
    HttpAnswer answer;
    bool cancelled = false, ended = false;
    std::exception_ptr error;  // thrown by a callback, through which nothing may be thrown
};

std::string lower(std::string_view text) {
    std::string name(text);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return name;
}

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t\r\n");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

size_t take_header(char* data, size_t, size_t size, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const std::string_view line(data, size);
    const size_t colon = line.find(':');
    if (line.rfind("HTTP/", 0) == 0) {
        const size_t space = line.find(' ');
        transfer.answer.status =
            space == std::string_view::npos ? 0 : std::atol(std::string(line.substr(space + 1, 3)).c_str());
    } else if (colon != std::string_view::npos && transfer.answer.headers.size() < kMostHeaders) {
        transfer.answer.headers[lower(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
    }
    return size;
}

size_t take_body(char* data, size_t, size_t size, void* user) {
    auto& transfer = *static_cast<Transfer*>(user);
    const long status = transfer.answer.status;
    if ((status != 200 && status != 206) || !transfer.request->body) return size;
    try {
        if (transfer.request->body(transfer.answer, std::as_bytes(std::span(data, size)))) return size;
        transfer.ended = true;
    } catch (...) {
        transfer.error = std::current_exception();
    }
    return 0;
}

int follow_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& transfer = *static_cast<Transfer*>(user);
    transfer.cancelled = transfer.request->go_on && !transfer.request->go_on();
    return transfer.cancelled ? 1 : 0;
}

}  // namespace

std::string HttpAnswer::header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
}

struct HttpClient::Impl {
    CURL* handle = nullptr;
    std::string token;
    std::string trouble = std::string(CURL_ERROR_SIZE, '\0');

    void set(CURLoption option, auto value) { ::curl_easy_setopt(handle, option, value); }
    void prepare(const HttpRequest& request, const std::string& address, Transfer& transfer);
};

HttpClient::HttpClient(std::string token) : impl_(std::make_unique<Impl>()) {
    static std::once_flag once;
    std::call_once(once, [] { ::curl_global_init(CURL_GLOBAL_DEFAULT); });
    impl_->token = std::move(token);
    impl_->handle = ::curl_easy_init();
    if (impl_->handle == nullptr) fail(ErrorCode::kOutOfMemory, "libcurl cannot be started");
}

HttpClient::~HttpClient() {
    ::curl_easy_cleanup(impl_->handle);
}

void HttpClient::Impl::prepare(const HttpRequest& request, const std::string& address, Transfer& transfer) {
    ::curl_easy_reset(handle);  // keeps connections
    transfer = {};
    transfer.request = &request;
    trouble[0] = '\0';
    set(CURLOPT_URL, address.c_str());
    set(CURLOPT_ERRORBUFFER, trouble.data());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, request.headers_only ? 0L : 1L);
    set(CURLOPT_MAXREDIRS, kMostRedirects);
    set(CURLOPT_NOBODY, request.headers_only ? 1L : 0L);
    set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kSilentSeconds);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "sluice");
    set(CURLOPT_HEADERFUNCTION, &take_header);
    set(CURLOPT_HEADERDATA, &transfer);
    set(CURLOPT_WRITEFUNCTION, &take_body);
    set(CURLOPT_WRITEDATA, &transfer);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &follow_progress);
    set(CURLOPT_XFERINFODATA, &transfer);
    if (!token.empty()) {
        set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
        set(CURLOPT_XOAUTH2_BEARER, token.c_str());
    }
    // A server that ignores it answers 200 with all of the bytes.
    if (request.offset > 0) set(CURLOPT_RANGE, fmt::format("{}-", request.offset).c_str());
}

HttpAnswer HttpClient::ask(const HttpRequest& request) {
    Transfer transfer;
    std::string address = request.address;
    for (long redirects = 0;; ++redirects) {
        impl_->prepare(request, address, transfer);
        const CURLcode result = ::curl_easy_perform(impl_->handle);
        if (transfer.error) std::rethrow_exception(transfer.error);
        if (transfer.cancelled) fail(ErrorCode::kCancelled, "the download was stopped; run it again to go on");
        if (result != CURLE_OK && !transfer.ended) {
            const char* const reason =
                impl_->trouble[0] != '\0' ? impl_->trouble.c_str() : ::curl_easy_strerror(result);
            fail(ErrorCode::kIo, "{}: {}", address, reason);
        }
        // Only a path leads to the same host; where others would be asked, what is known of the file comes first.
        const std::string place = transfer.answer.header("location");
        const bool inside = !place.empty() && place.front() == '/' && place.substr(0, 2) != "//";
        if (!request.headers_only || transfer.answer.status / 100 != 3 || !inside || redirects == kMostRedirects) break;
        char* target = nullptr;
        ::curl_easy_getinfo(impl_->handle, CURLINFO_REDIRECT_URL, &target);
        if (target == nullptr) break;
        address = target;
    }
    return std::move(transfer.answer);
}

std::string escaped_path(const std::string& path) {
    constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    std::string escaped;
    for (const char c : path) {
        if (kPlain.find(c) != std::string_view::npos) {
            escaped += c;
        } else {
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return escaped;
}

}  // namespace sluice::hub
