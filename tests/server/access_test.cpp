#include "server/access.h"

#include <gtest/gtest.h>

#include "server/endpoints.h"

namespace sluice::server {
namespace {

Request request(Headers headers) {
    return {.method = "POST", .path = "/v1/chat/completions", .headers = std::move(headers)};
}

int status(const Access& access, Headers headers, bool open = false) {
    const auto error = access.refuse(request(std::move(headers)), open);
    return error ? error->status : 200;
}

TEST(Access, KeysComeAsBearerOrHeader) {
    ServerOptions options;
    options.api_keys = {"sk-right", "other"};
    const Access access(options);
    EXPECT_EQ(status(access, {{"authorization", "Bearer sk-right"}}), 200);
    EXPECT_EQ(status(access, {{"authorization", "bearer other"}}), 200);
    EXPECT_EQ(status(access, {{"x-api-key", "sk-right"}}), 200);
    EXPECT_EQ(status(access, {{"authorization", "Basic sk-right"}}), 401);
    EXPECT_EQ(status(access, {{"authorization", "Bearer sk-righ"}}), 401);
    EXPECT_EQ(status(access, {{"x-api-key", "sk-right2"}}), 401);
    EXPECT_EQ(status(access, {}), 401);
    EXPECT_EQ(status(access, {}, true), 200);
}

TEST(Access, WithoutAKeyOnlyThisMachineIsServed) {
    ServerOptions options;
    options.allowed_hosts = {"box.lan"};
    const Access access(options);
    for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "box.lan:80"}) {
        EXPECT_EQ(status(access, {{"host", host}}), 200) << host;
    }
    for (const char* host : {"evil.example", "localhost.evil", "127.0.0.1.evil", "[::2]", "notlocalhost"}) {
        EXPECT_EQ(status(access, {{"host", host}}), 403) << host;
    }
}

TEST(Access, PagesOfOtherOriginsAreRefusedUnlessNamed) {
    ServerOptions options;
    options.cors_origins = {"https://app.example"};
    const Access access(options);
    const auto of = [&](const char* origin) { return status(access, {{"host", "localhost:80"}, {"origin", origin}}); };
    EXPECT_EQ(of("http://localhost:80"), 200);
    EXPECT_EQ(of("https://app.example"), 200);
    for (const char* origin : {"http://localhost", "http://localhost:80.evil", "null", "https://app.example.evil"}) {
        EXPECT_EQ(of(origin), 403) << origin;
    }
    Response response;
    access.add_cors_headers(request({{"origin", "https://app.example.evil"}}), response);
    EXPECT_EQ(response.headers, (Headers{{"vary", "Origin"}}));
}

TEST(Access, ComparesWholeTexts) {
    EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abc", "abd"));
    EXPECT_FALSE(equal_in_constant_time("abc", ""));
    EXPECT_FALSE(equal_in_constant_time("abcabc", "abc"));
}

TEST(Endpoints, KnowTheirMethods) {
    EXPECT_EQ(methods_of("/v1/chat/completions"), "POST, OPTIONS");
    EXPECT_EQ(methods_of("/v1/models"), "GET, HEAD, OPTIONS");
    EXPECT_EQ(methods_of("/v1/nothing"), "");
    EXPECT_NE(find_endpoint("HEAD", "/health"), nullptr);
    EXPECT_EQ(find_endpoint("POST", "/health"), nullptr);
    EXPECT_EQ(endpoint_label("/v1/models/a/b"), "/v1/models/*");
    EXPECT_EQ(endpoint_label("/v1/models/"), "other");
    EXPECT_EQ(endpoint_label("/etc/passwd"), "other");
}

}  // namespace
}  // namespace sluice::server
