#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/temporary_folder.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string refusal(const std::string& text, const JsonLimits& limits = {}) {
    try {
        parse_json(text, "a.json", limits);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidFile);
        return error.what();
    }
    return "";
}

std::string repeated(const std::string& text, size_t times) {
    std::string all;
    for (size_t i = 0; i < times; ++i) all += text;
    return all;
}

TEST(Json, MakesATree) {
    const std::string text = R"({"b": [1, -2, 1.5, null, true, "x"], "a": {"c": {}}, "a": 3})";
    EXPECT_EQ(parse_json(text, "a.json").dump(), R"({"a":3,"b":[1,-2,1.5,null,true,"x"]})") << "the last one counts";
    EXPECT_EQ(parse_ordered_json(text, "a.json").dump(), R"({"b":[1,-2,1.5,null,true,"x"],"a":3})");
    EXPECT_EQ(parse_json("18446744073709551615", "a.json").get<uint64_t>(), UINT64_MAX);
}

TEST(Json, SaysWhereItIsNoJson) {
    EXPECT_THAT(refusal("{\"a\": "), StartsWith("a.json: not valid JSON at byte 7: "));
    EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
    EXPECT_THAT(refusal("{} {}"), HasSubstr("not valid JSON"));
    const std::string odd = refusal("{\"\xff\n\x01");
    EXPECT_TRUE(std::ranges::all_of(odd, [](char c) { return c >= 0x20 && c < 0x7f; })) << odd;
}

TEST(Json, WhatPythonWritesForNumbersThatAreNotFiniteIsNull) {
    const std::string text =
        without_non_finite(R"({"a": [0.0, Infinity], "b": -Infinity, "c":NaN, "NaN\"": "Infinity"})");
    EXPECT_EQ(text, R"({"a": [0.0, null], "b": null, "c":null, "NaN\"": "Infinity"})");
    EXPECT_TRUE(parse_json(text, "here").at("b").is_null());
    EXPECT_EQ(without_non_finite(""), "");
    EXPECT_EQ(without_non_finite("\"open \\"), "\"open \\");
}

TEST(Json, SaysWhatItIsInstead) {
    EXPECT_EQ(refusal("\n<!DOCTYPE html><html>404</html>"),
              "a.json: a page of HTML, not JSON: what was to be fetched is an error");
    EXPECT_EQ(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
              "a.json: a Git LFS pointer, not JSON: fetch the file with git lfs pull");
    EXPECT_EQ(refusal("PK\x03\x04 and more"), "a.json: a zip archive, as PyTorch saves, not JSON");
    EXPECT_EQ(refusal("\x1f\x8b\x08"), "a.json: a gzip archive, not JSON: unpack it");
    EXPECT_EQ(refusal(""), "a.json: not valid JSON: there is nothing in it");
    EXPECT_THAT(refusal("version 2"), StartsWith("a.json: not valid JSON at byte 1: "));
}

TEST(Json, DepthIsLimited) {
    EXPECT_EQ(refusal(repeated("[", 64) + repeated("]", 64)), "");
    EXPECT_EQ(refusal(repeated("[", 65) + repeated("]", 65)), "a.json: nested deeper than 64 levels");
    EXPECT_EQ(refusal(repeated("{\"a\":", 1'000'000)), "a.json: nested deeper than 64 levels");
}

TEST(Json, ValuesAreLimitedByTheBytes) {
    const std::string lists = "[" + repeated("[],", 1'000'000) + "[]]";
    EXPECT_EQ(refusal(lists), "a.json: holds more values than a file of its size should");
    EXPECT_EQ(refusal(lists, {.bytes_per_value = 1}), "");
    EXPECT_EQ(refusal("[" + repeated("\"a token of some length\",", 200'000) + "1]"), "");
}

TEST(Json, BytesAreLimited) {
    EXPECT_EQ(refusal("[1, 2, 3]", {.bytes = 8}), "a.json: 9 bytes of JSON; the limit is 8");
    const testing::TemporaryFolder folder;
    write_text_file(folder / "b.json", "[1, 2, 3]");
    EXPECT_EQ(read_json_file(folder / "b.json").size(), 3u);
    EXPECT_EQ(read_ordered_json_file(folder / "b.json").size(), 3u);
    EXPECT_THROW(read_json_file(folder / "b.json", {.bytes = 8}), Error);
    EXPECT_THROW(read_json_file(folder / "absent.json"), Error);
}

}  // namespace
}  // namespace sluice
