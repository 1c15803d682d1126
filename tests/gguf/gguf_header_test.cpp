#include "gguf/gguf_header.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/gguf_writer.h"

namespace sluice {
namespace {

using testing::GgufWriter;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text));
}

// The message of the refusal, one line that begins with the label; empty where nothing is refused.
std::string refusal(const std::string& file, const std::function<void(const GgufHeader&)>& use = {}) {
    try {
        const GgufHeader header = GgufHeader::parse(bytes_of(file), "x.gguf");
        if (use) use(header);
    } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_TRUE(message.starts_with("x.gguf: ")) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
        return message;
    }
    return {};
}

void expect_refused(const std::string& file, const std::vector<std::string>& parts) {
    const std::string message = refusal(file);
    for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << ": " << message;
}

GgufWriter small() {
    GgufWriter writer;
    writer.add("general.architecture", "tiny");
    writer.add("tiny.layers", uint32_t{3});
    writer.tensors.push_back({"a.weight", {4, 2}, 0, std::string(32, 'a')});
    writer.tensors.push_back({"b", {5}, 1, std::string(10, 'b')});
    return writer;
}

TEST(GgufHeader, ReadsPairsAndTensors) {
    for (const uint32_t version : {2u, 3u}) {
        GgufWriter writer = small();
        writer.version = version;
        const std::string file = writer.bytes();
        const GgufHeader header = GgufHeader::parse(bytes_of(file), "x.gguf");
        EXPECT_EQ(header.text("general.architecture"), "tiny");
        EXPECT_EQ(header.integer("tiny.layers"), 3);
        ASSERT_EQ(header.tensors().size(), 2u);
        EXPECT_EQ(header.tensors()[0].name, "a.weight");
        EXPECT_EQ(header.tensors()[0].sizes[0], 4u);
        EXPECT_EQ(header.tensors()[0].sizes[1], 2u);
        EXPECT_EQ(header.tensors()[1].offset, 32u);
        EXPECT_EQ(file.substr(header.data_offset(), 32), std::string(32, 'a'));
    }
}

TEST(GgufHeader, NumbersOfAnyWidthAreRead) {
    GgufWriter writer;
    writer.add("u8", uint8_t{200});
    writer.add("i32", int32_t{-5});
    writer.add("u64", uint64_t{1} << 40);
    writer.add("huge", std::numeric_limits<uint64_t>::max());
    writer.add("f32", 0.5f);
    writer.add("f64", 0.25);
    writer.add("nan", std::numeric_limits<float>::quiet_NaN());
    writer.add("bool", true);
    writer.add_array("same", std::vector<int32_t>{0, 7, 7});
    writer.add_array("mixed", std::vector<int32_t>{1, 2});
    writer.add_array("none", std::vector<int32_t>{});
    writer.add_array("flags", std::vector<uint8_t>{1, 0});
    const std::string file = writer.bytes();
    const GgufHeader header = GgufHeader::parse(bytes_of(file), "x.gguf");
    EXPECT_EQ(header.integer("u8"), 200);
    EXPECT_EQ(header.integer("i32"), -5);
    EXPECT_EQ(header.integer("u64"), int64_t{1} << 40);
    EXPECT_EQ(header.integer("same"), 7);
    EXPECT_EQ(header.integer_or("absent", 9), 9);
    EXPECT_EQ(header.number("f32"), 0.5);
    EXPECT_EQ(header.number("f64"), 0.25);
    EXPECT_EQ(header.number("u8"), 200.0);
    EXPECT_TRUE(header.boolean_or("bool", false));
    const auto refused = [&](auto&& read) { return refusal(file, read); };
    EXPECT_NE(refused([](const GgufHeader& h) { h.integer("huge"); }).find("huge"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.number("nan"); }).find("nan"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.integer("mixed"); }).find("1 in one layer"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.integer("none"); }).find("empty"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.integer("f32"); }).find("32-bit float"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.text("u8"); }).find("a string belongs"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.booleans("flags"); }).find("boolean"), std::string::npos);
    EXPECT_NE(refused([](const GgufHeader& h) { h.integer("absent"); }).find("missing"), std::string::npos);
}

TEST(GgufHeader, StringsOfAnArrayComeInOrder) {
    GgufWriter writer;
    writer.add_array("words", std::vector<std::string>{"one", "", "three"});
    const std::string file = writer.bytes();
    const GgufHeader header = GgufHeader::parse(bytes_of(file), "x.gguf");
    std::vector<std::string> words;
    header.find("words")->each_text([&](std::string_view word) { words.emplace_back(word); });
    EXPECT_EQ(words, (std::vector<std::string>{"one", "", "three"}));
}

TEST(GgufHeader, WhatIsNotOfTheFormatIsRefused) {
    const std::string whole = small().bytes();
    expect_refused("", {"not a GGUF file"});
    expect_refused("GGUX" + whole.substr(4), {"GGUX"});
    expect_refused("version https://git-lfs", {"git lfs pull"});
    expect_refused("<html>", {"HTML"});
    GgufWriter writer = small();
    writer.version = 1;
    expect_refused(writer.bytes(), {"version 1"});
    writer.version = 0x03000000;
    expect_refused(writer.bytes(), {"big-endian"});
    writer = small();
    writer.add("tiny.layers", uint32_t{4});
    expect_refused(writer.bytes(), {"tiny.layers", "twice"});
    writer = small();
    writer.add("", uint32_t{4});
    expect_refused(writer.bytes(), {"no key"});
    writer = small();
    writer.add_raw("odd", 13, "");
    expect_refused(writer.bytes(), {"odd", "type 13"});
    writer = small();
    writer.add_raw("nested", 9, std::string("\x09\0\0\0\1\0\0\0\0\0\0\0", 12));
    expect_refused(writer.bytes(), {"nested", "arrays of arrays"});
    writer = small();
    writer.tensors.push_back({"b", {1}, 0, "1234"});
    expect_refused(writer.bytes(), {"tensor b", "twice"});
    for (const uint32_t alignment : {0u, 24u, 1u << 30}) {
        writer = small();
        writer.add("general.alignment", alignment);
        expect_refused(writer.bytes(), {"general.alignment", std::to_string(alignment)});
    }
}

TEST(GgufHeader, SizesThatCannotBeTrueAreRefused) {
    for (const std::vector<uint64_t>& sizes : std::vector<std::vector<uint64_t>>{
             {}, {1, 1, 1, 1, 1}, {4, 0}, {uint64_t{1} << 33, uint64_t{1} << 33}, {uint64_t{1} << 63}}) {
        GgufWriter writer = small();
        writer.tensors.push_back({"c", sizes, 0, ""});
        expect_refused(writer.bytes(), {"tensor c"});
    }
    GgufWriter writer = small();
    writer.pair_count = int64_t{1} << 62;
    expect_refused(writer.bytes(), {"pairs of metadata"});
    writer = small();
    writer.tensor_count = int64_t{1} << 40;
    expect_refused(writer.bytes(), {"tensors"});
    writer = small();
    writer.add_raw("long", 8, std::string("\0\0\0\0\0\1\0\0", 8));
    expect_refused(writer.bytes(), {"long", "1099511627776"});
    writer = small();
    writer.add_raw("many", 9, std::string("\0\0\0\0\0\0\0\0\0\1\0\0", 12));
    expect_refused(writer.bytes(), {"many", "cut off"});
}

// Whichever byte it ends at.
TEST(GgufHeader, AFileThatWasCutIsRefused) {
    const std::string whole = small().bytes();
    const uint64_t data = GgufHeader::parse(bytes_of(whole), "x.gguf").data_offset();
    size_t refused = 0;
    for (size_t length = 0; length + 32 < data; ++length) refused += refusal(whole.substr(0, length)).empty() ? 0 : 1;
    EXPECT_EQ(refused, data - 32);
    EXPECT_EQ(refusal(whole.substr(0, data)), "");
}

}  // namespace
}  // namespace sluice
