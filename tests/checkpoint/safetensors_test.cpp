#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

SafetensorsHeader parse(std::string_view json, uint64_t data_bytes) {
    return parse_safetensors_header(json, 100, data_bytes, "shard.safetensors");
}

TEST(Safetensors, ParsesAHeader) {
    const SafetensorsHeader header = parse(
        R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"__metadata__":{"format":"pt"},)"
        R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"},"c":{"dtype":"U8","shape":[0,5],"data_offsets":[4,4]}}    )",
        16);
    ASSERT_EQ(header.tensors.size(), 3u);
    EXPECT_EQ(header.tensors[0].name, "a");
    EXPECT_EQ(header.tensors[0].offset, 100u);
    EXPECT_EQ(header.tensors[0].bytes, 4u);
    EXPECT_EQ(header.tensors[1].name, "c");
    EXPECT_EQ(header.tensors[2].name, "b");
    EXPECT_EQ(header.tensors[2].shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(header.tensors[2].dtype, DType::kBF16);
    EXPECT_EQ(header.metadata.at("format"), "pt");
    EXPECT_TRUE(parse("{}", 0).tensors.empty());
}

struct BadHeader {
    const char* what;
    const char* json;
    uint64_t data_bytes;
    std::vector<std::string> parts;
};

TEST(Safetensors, RefusesBadHeaders) {
    const BadHeader cases[] = {
        {"no JSON", "{\"a\":", 0, {"JSON"}},
        {"nothing", "", 0, {"JSON"}},
        {"two values", "{} {}", 0, {"JSON"}},
        {"a list", "[]", 0, {"object of tensors"}},
        {"a number for a tensor", R"({"a":5})", 0, {"tensor a", "a number"}},
        {"a list for a tensor", R"({"a":[]})", 0, {"tensor a", "a list"}},
        {"null", R"({"a":null})", 0, {"tensor a", "null"}},
        {"no dtype", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, {"tensor a", "dtype"}},
        {"no shape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, {"tensor a", "shape"}},
        {"no offsets", R"({"a":{"dtype":"U8","shape":[1]}})", 1, {"tensor a", "data_offsets"}},
        {"three offsets",
         R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})",
         1,
         {"tensor a", "data_offsets"}},
        {"dtype", R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}})", 1, {"tensor a", "Q4"}},
        {"dtype number", R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}})", 1, {"tensor a", "a number"}},
        {"field", R"({"a":{"dtype":"U8","shape":[1],"offset":[0,1]}})", 1, {"tensor a", "unknown field"}},
        {"negative", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, {"tensor a", "-1"}},
        {"fraction", R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1, {"tensor a", "fraction"}},
        {"nested", R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, {"tensor a", "a list"}},
        {"object", R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", 1, {"tensor a", "an object"}},
        {"backwards", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[3,2]}})", 3, {"tensor a", "before"}},
        {"shape and range", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, {"tensor a", "12", "8"}},
        {"overflow",
         R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})",
         0,
         {"tensor a", "larger"}},
        {"overflowing product",
         R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
         0,
         {"tensor a", "larger"}},
        {"shape above 2^63",
         R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}})",
         0,
         {"tensor a", "larger"}},
        {"past the end",
         R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})",
         8,
         {"tensor a", "9", "8", "truncated"}},
        {"offset that wraps",
         R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]}})",
         8,
         {"tensor a"}},
        {"overlap",
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
         7,
         {"tensor b", "byte 3"}},
        {"hole",
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})",
         10,
         {"tensor b", "2 bytes"}},
        {"hole at the start", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, {"tensor a", "1 bytes"}},
        {"rest", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 9, {"5 bytes", "last"}},
        {"twice",
         R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
         8,
         {"tensor a", "twice"}},
        {"control character", "{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, {"control"}},
        {"metadata number", R"({"__metadata__":{"a":5}})", 0, {"__metadata__", "a number"}},
        {"metadata nested", R"({"__metadata__":{"a":{}}})", 0, {"__metadata__", "an object"}},
        {"metadata list", R"({"__metadata__":["a"]})", 0, {"__metadata__", "a list"}},
        {"rank",
         R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})",
         1,
         {"tensor a"}},
    };
    for (const BadHeader& bad : cases) {
        SCOPED_TRACE(bad.what);
        std::vector<std::string> parts = bad.parts;
        parts.emplace_back("shard.safetensors");
        expect_error(ErrorCode::kInvalidFile, parts, [&] { parse(bad.json, bad.data_bytes); });
    }
}

void write_raw(const std::filesystem::path& path, uint64_t length, const std::string& rest) {
    std::string text(8, '\0');
    for (size_t i = 0; i < 8; ++i) text[i] = static_cast<char>(length >> (8 * i));
    write_text_file(path, text + rest);
}

TEST(Safetensors, RefusesALengthThatLies) {
    const TemporaryFolder folder;
    const auto path = folder / "a.safetensors";
    const auto open = [&] { SafetensorsReader::open(path); };
    for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, ~uint64_t{0}, ~uint64_t{0} - 7}) {
        write_raw(path, length, "{}");
        expect_error(ErrorCode::kInvalidFile, {"a.safetensors", std::to_string(length)}, open);
    }
    write_raw(path, 0, "{}");
    expect_error(ErrorCode::kInvalidFile, {"a.safetensors", "JSON"}, open);
    write_text_file(path, "abc");
    expect_error(ErrorCode::kInvalidFile, {"a.safetensors", "3 bytes"}, open);
    expect_error(ErrorCode::kNotFound, {"b.safetensors"}, [&] { SafetensorsReader::open(folder / "b.safetensors"); });
}

TEST(Safetensors, ReaderReadsValues) {
    const TemporaryFolder folder;
    const auto path = folder / "a.safetensors";
    const std::string header =
        R"({"f":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"h":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},)"
        R"("i":{"dtype":"I16","shape":[2],"data_offsets":[10,14]},"u":{"dtype":"U8","shape":[1],"data_offsets":[14,15]},)"
        R"("e":{"dtype":"BF16","shape":[0],"data_offsets":[15,15]}})";
    const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x38\xff\xff\x02\x01\xfe", 15);
    write_raw(path, header.size(), header + data);
    const auto reader = SafetensorsReader::open(path);
    EXPECT_EQ(reader.floats("f"), (std::vector<float>{1.0f, -2.0f}));
    EXPECT_EQ(reader.floats("h"), (std::vector<float>{0.5f}));
    EXPECT_EQ(reader.integers("i"), (std::vector<int64_t>{-1, 258}));
    EXPECT_EQ(reader.integers("u"), (std::vector<int64_t>{254}));
    EXPECT_TRUE(reader.floats("e").empty());
    EXPECT_EQ(reader.bytes("u").size(), 1u);
    EXPECT_TRUE(reader.has("e"));
    EXPECT_FALSE(reader.has("x"));
    expect_error(ErrorCode::kNotFound, {"a.safetensors", "tensor x"}, [&] { reader.floats("x"); });
    expect_error(ErrorCode::kUnsupported, {"a.safetensors", "tensor i", "I16"}, [&] { reader.floats("i"); });
    expect_error(ErrorCode::kUnsupported, {"a.safetensors", "tensor f", "F32"}, [&] { reader.integers("f"); });
}

// A publisher's layout of the largest models has a few hundred thousand names.
TEST(Safetensors, ManyTensorsParseInLinearTime) {
    std::string json = "{";
    constexpr int kTensors = 200'000;
    for (int i = 0; i < kTensors; ++i) {
        json += fmt::format(
            "{}\"model.layers.{}.mlp.experts.{}.gate_proj.weight\":{{\"dtype\":\"U8\",\"shape\":[4],"
            "\"data_offsets\":[{},{}]}}",
            i == 0 ? "" : ",", i / 1000, i % 1000, 4 * i, 4 * i + 4);
    }
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(parse(json + "}", 4 * kTensors).tensors.size(), static_cast<size_t>(kTensors));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_LT(elapsed.count(), 20.0);  // a second or less; quadratic work would take minutes
}

}  // namespace
}  // namespace sluice
