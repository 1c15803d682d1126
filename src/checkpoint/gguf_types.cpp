#include "checkpoint/gguf_types.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "base/error.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

struct PlainType {
    uint32_t number;
    std::string_view name;
    DType dtype;
};
constexpr PlainType kPlainTypes[] = {
    {0, "F32", DType::kF32},  {1, "F16", DType::kF16},  {24, "I8", DType::kI8},   {25, "I16", DType::kI16},
    {26, "I32", DType::kI32}, {27, "I64", DType::kI64}, {28, "F64", DType::kF64}, {30, "BF16", DType::kBF16},
};

// Of a codec that is not there the type is known by name alone.
struct BlockType {
    uint32_t number;
    std::string_view name, codec;
    std::string_view with_factor = {};  // the codec where a factor of the whole matrix stands beside it
};
constexpr BlockType kBlockTypes[] = {
    {2, "Q4_0", "q4_0"},
    {3, "Q4_1", "q4_1"},
    {6, "Q5_0", "q5_0"},
    {7, "Q5_1", "q5_1"},
    {8, "Q8_0", "q8_0"},
    {10, "Q2_K", "q2_k"},
    {11, "Q3_K", "q3_k"},
    {12, "Q4_K", "q4_k"},
    {13, "Q5_K", "q5_k"},
    {14, "Q6_K", "q6_k"},
    {16, "IQ2_XXS", "iq2_xxs"},
    {17, "IQ2_XS", "iq2_xs"},
    {18, "IQ3_XXS", "iq3_xxs"},
    {19, "IQ1_S", "iq1_s"},
    {20, "IQ4_NL", "iq4_nl"},
    {21, "IQ3_S", "iq3_s"},
    {22, "IQ2_S", "iq2_s"},
    {23, "IQ4_XS", "iq4_xs"},
    {29, "IQ1_M", "iq1_m"},
    {34, "TQ1_0", "tq1_0"},
    {35, "TQ2_0", "tq2_0"},
    {39, "MXFP4", "mxfp4_block"},
    {40, "NVFP4", "nvfp4_block", "nvfp4_block_scaled"},
    {41, "Q1_0", "q1_0"},
    {42, "Q2_0", "q2_0"},
};

constexpr uint32_t kRemoved[] = {4, 5, 31, 32, 33, 36, 37, 38};

// What most matrices of such a file are, by general.file_type.
struct FileType {
    int64_t number;
    std::string_view codec;
};
constexpr FileType kFileTypes[] = {
    {2, "q4_0"},         {3, "q4_1"},    {7, "q8_0"},     {8, "q5_0"},    {9, "q5_1"},   {10, "q2_k"},
    {11, "q3_k"},        {12, "q3_k"},   {13, "q3_k"},    {14, "q4_k"},   {15, "q4_k"},  {16, "q5_k"},
    {17, "q5_k"},        {18, "q6_k"},   {19, "iq2_xxs"}, {20, "iq2_xs"}, {21, "q2_k"},  {22, "iq3_s"},
    {23, "iq3_xxs"},     {24, "iq1_s"},  {25, "iq4_nl"},  {26, "iq3_s"},  {27, "iq3_s"}, {28, "iq2_s"},
    {29, "iq2_s"},       {30, "iq4_xs"}, {31, "iq1_m"},   {36, "tq1_0"},  {37, "tq2_0"}, {38, "mxfp4_block"},
    {39, "nvfp4_block"},
};

}  // namespace

WeightFormat gguf_file_type_format(int64_t number) {
    const auto type = std::ranges::find(kFileTypes, number, &FileType::number);
    const Codec* codec = type == std::end(kFileTypes) ? nullptr : find_codec(type->codec);
    return codec != nullptr ? codec->standard : WeightFormat::floating(number == 0 ? DType::kF32 : DType::kF16);
}

GgufTensorType gguf_tensor_type(uint32_t number, std::string_view where) {
    if (const auto plain = std::ranges::find(kPlainTypes, number, &PlainType::number); plain != std::end(kPlainTypes)) {
        return {number, plain->name, plain->dtype, nullptr, nullptr};
    }
    const auto block = std::ranges::find(kBlockTypes, number, &BlockType::number);
    if (block == std::end(kBlockTypes)) {
        const bool removed = std::ranges::find(kRemoved, number) != std::end(kRemoved);
        fail(ErrorCode::kUnsupported, "{}: {} type {}; a file in one of the usual quantizations would do", where,
             removed ? "the format has no longer a" : "there is no", number);
    }
    const Codec* codec = find_codec(block->codec);
    if (codec == nullptr) fail(ErrorCode::kUnsupported, "{}: type {} is not supported", where, block->name);
    return {number, block->name, DType::kU8, codec, find_codec(block->with_factor)};
}

}  // namespace sluice
