// Matrices as AWQ, GPTQ, compressed-tensors and ModelOpt publish them: the values that they stand for, in experts and
// in the trunk.

#include "checkpoint/matrix_arrangement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/expert_layout.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::TinyCheckpoint;
using testing::TinyTensor;

constexpr int64_t kGroup = 32;

template <typename T>
TinyTensor tensor_of(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
    TinyTensor tensor{dtype, std::move(shape), std::vector<std::byte>(values.size() * sizeof(T))};
    std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
    return tensor;
}

// One matrix: what it stands for, and the tensors that say so, by the end of their names.
struct PublishedMatrix {
    std::vector<float> values;
    std::map<std::string, TinyTensor> tensors;
};

// Codes, zero points and scales by row; scales have few bits, so that every product is exact.
class Codes {
  public:
    Codes(int64_t rows, int64_t columns, int bits, uint32_t seed)
        : rows_(rows), columns_(columns), groups_(columns / kGroup), bits_(bits), random_(seed) {
        const uint32_t range = 1u << bits;
        for (int64_t i = 0; i < rows * columns; ++i) codes_.push_back(static_cast<uint32_t>(random_() % range));
        for (int64_t i = 0; i < rows * groups_; ++i) {
            zeros_.push_back(static_cast<uint32_t>(1 + random_() % (range - 1)));
            scales_.push_back(static_cast<float>(1 + random_() % 31) / 64);
        }
    }

    std::vector<float> values() const {
        std::vector<float> values;
        for (int64_t i = 0; i < rows_ * columns_; ++i) {
            const auto group = static_cast<size_t>(i / columns_ * groups_ + i % columns_ / kGroup);
            const auto code = static_cast<float>(codes_[static_cast<size_t>(i)]);
            values.push_back((code - static_cast<float>(zeros_[group])) * scales_[group]);
        }
        return values;
    }

    PublishedMatrix awq() const {
        constexpr std::array<int64_t, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
        const auto pack = [&](const std::vector<uint32_t>& numbers, int64_t columns) {
            std::vector<int32_t> words;
            for (int64_t c = 0; c < columns; ++c) {
                for (int64_t word = 0; word < rows_ / 8; ++word) {
                    uint32_t packed = 0;
                    for (size_t nibble = 0; nibble < 8; ++nibble) {
                        packed |= at(numbers, word * 8 + kOrder[nibble], c, columns) << (4 * nibble);
                    }
                    words.push_back(static_cast<int32_t>(packed));
                }
            }
            return tensor_of(DType::kI32, {columns, rows_ / 8}, words);
        };
        return {values(),
                {{".qweight", pack(codes_, columns_)}, {".qzeros", pack(zeros_, groups_)}, {".scales", by_group()}}};
    }

    PublishedMatrix gptq(uint32_t less) const {
        const int64_t in_word = 32 / bits_;
        std::vector<int32_t> words, zeros, order;
        for (int64_t word = 0; word < columns_ / in_word; ++word) {
            for (int64_t r = 0; r < rows_; ++r) {
                uint32_t packed = 0;
                for (int64_t i = 0; i < in_word; ++i) {
                    packed |= at(codes_, r, word * in_word + i, columns_) << (bits_ * i);
                }
                words.push_back(static_cast<int32_t>(packed));
            }
        }
        for (int64_t group = 0; group < groups_; ++group) {
            for (int64_t word = 0; word < rows_ / in_word; ++word) {
                uint32_t packed = 0;
                for (int64_t i = 0; i < in_word; ++i) {
                    packed |= (at(zeros_, word * in_word + i, group, groups_) - less) << (bits_ * i);
                }
                zeros.push_back(static_cast<int32_t>(packed));
            }
        }
        for (int64_t c = 0; c < columns_; ++c) order.push_back(static_cast<int32_t>(c / kGroup));
        return {values(),
                {{".qweight", tensor_of(DType::kI32, {columns_ / in_word, rows_}, words)},
                 {".qzeros", tensor_of(DType::kI32, {groups_, rows_ / in_word}, zeros)},
                 {".scales", by_group()},
                 {".g_idx", tensor_of(DType::kI32, {columns_}, order)}}};
    }

    PublishedMatrix compressed() const {
        const int64_t in_word = 32 / bits_;
        std::vector<int32_t> words, zeros;
        for (int64_t r = 0; r < rows_; ++r) {
            for (int64_t word = 0; word < columns_ / in_word; ++word) {
                uint32_t packed = 0;
                for (int64_t i = 0; i < in_word; ++i) {
                    packed |= at(codes_, r, word * in_word + i, columns_) << (bits_ * i);
                }
                words.push_back(static_cast<int32_t>(packed));
            }
        }
        for (int64_t word = 0; word < rows_ / in_word; ++word) {
            for (int64_t group = 0; group < groups_; ++group) {
                uint32_t packed = 0;
                for (int64_t i = 0; i < in_word; ++i) {
                    packed |= at(zeros_, word * in_word + i, group, groups_) << (bits_ * i);
                }
                zeros.push_back(static_cast<int32_t>(packed));
            }
        }
        std::vector<uint16_t> scales;
        for (const float scale : scales_) scales.push_back(float_to_bf16(scale));
        return {values(),
                {{".weight_packed", tensor_of(DType::kI32, {rows_, columns_ / in_word}, words)},
                 {".weight_zero_point", tensor_of(DType::kI32, {rows_ / in_word, groups_}, zeros)},
                 {".weight_scale", tensor_of(DType::kBF16, {rows_, groups_}, scales)},
                 {".weight_shape", tensor_of(DType::kI64, {2}, std::vector<int64_t>{rows_, columns_})}}};
    }

  private:
    static uint32_t at(const std::vector<uint32_t>& numbers, int64_t row, int64_t column, int64_t columns) {
        return numbers[static_cast<size_t>(row * columns + column)];
    }

    TinyTensor by_group() const {
        std::vector<uint16_t> scales;
        for (int64_t group = 0; group < groups_; ++group) {
            for (int64_t r = 0; r < rows_; ++r) {
                scales.push_back(float_to_f16(scales_[static_cast<size_t>(r * groups_ + group)]));
            }
        }
        return tensor_of(DType::kF16, {groups_, rows_}, scales);
    }

    int64_t rows_, columns_, groups_;
    int bits_;
    std::mt19937 random_;
    std::vector<uint32_t> codes_, zeros_;
    std::vector<float> scales_;
};

// E4M3 codes of positive scales, E2M1 pairs with the even column in the low nibble, a factor of the whole.
PublishedMatrix nvfp4(int64_t rows, int64_t columns, uint32_t seed, bool divided) {
    std::mt19937 random(seed);
    PublishedMatrix matrix;
    std::vector<uint8_t> codes, scales;
    for (int64_t i = 0; i < rows * columns / 2; ++i) codes.push_back(static_cast<uint8_t>(random()));
    for (int64_t i = 0; i < rows * columns / 16; ++i) scales.push_back(static_cast<uint8_t>(random() % 127));
    const std::vector<float> factor = {divided ? 4.0f : 0.25f};
    for (size_t i = 0; i < static_cast<size_t>(rows * columns); ++i) {
        const auto nibble = static_cast<uint8_t>(i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4);
        matrix.values.push_back(e2m1_to_float(nibble) * e4m3_to_float(scales[i / 16]) * 0.25f);
    }
    const std::string weight = divided ? ".weight_packed" : ".weight";
    matrix.tensors = {{weight, tensor_of(DType::kU8, {rows, columns / 2}, codes)},
                      {".weight_scale", tensor_of(DType::kF8E4M3, {rows, columns / 16}, scales)}};
    if (divided) {
        matrix.tensors[".weight_global_scale"] = tensor_of(DType::kF32, {1}, factor);
    } else {
        matrix.tensors[".weight_scale_2"] = tensor_of(DType::kF32, {}, factor);
    }
    return matrix;
}

// E4M3 bytes with a scale for each row, or for all.
PublishedMatrix fp8(int64_t rows, int64_t columns, uint32_t seed, bool rows_apart) {
    std::mt19937 random(seed);
    PublishedMatrix matrix;
    std::vector<uint8_t> codes;
    std::vector<float> scales;
    for (int64_t i = 0; i < (rows_apart ? rows : 1); ++i) scales.push_back(static_cast<float>(1 + random() % 31) / 64);
    for (int64_t i = 0; i < rows * columns; ++i) {
        codes.push_back(static_cast<uint8_t>(random() % 127));
        matrix.values.push_back(e4m3_to_float(codes.back()) *
                                scales[static_cast<size_t>(rows_apart ? i / columns : 0)]);
    }
    const std::vector<int64_t> shape = rows_apart ? std::vector<int64_t>{rows, 1} : std::vector<int64_t>{};
    matrix.tensors = {{".weight", tensor_of(DType::kF8E4M3, {rows, columns}, codes)},
                      {".weight_scale", tensor_of(DType::kF32, shape, scales)}};
    return matrix;
}

using Publish = std::function<PublishedMatrix(int64_t rows, int64_t columns, uint32_t seed)>;

std::vector<float> decoded(const WeightView& view) {
    std::vector<float> values(static_cast<size_t>(view.rows * view.columns));
    for (int64_t row = 0; row < view.rows; ++row) decode_row(view, row, values.data() + row * view.columns);
    return values;
}

std::vector<float> expert_values(const Checkpoint& checkpoint, int layer, int expert, Projection projection) {
    const ExpertLayout& layout = checkpoint.expert_layout(layer);
    std::vector<std::byte> slot(layout.record_bytes);
    for (const ExpertRead& read : checkpoint.expert_reads(layer, expert)) {
        const auto bytes = checkpoint.mapped(read.source);
        std::memcpy(slot.data() + read.slot_offset, bytes.data(), bytes.size());
    }
    std::vector<std::byte> scratch(checkpoint.arrangement_scratch(layer).value_or(0));
    checkpoint.arrange_expert(layer, slot, scratch);
    return decoded(view_in_slot(projection_of(layout, projection), slot.data()));
}

// A tiny model whose projections are all published so; the values of each by its module.
struct PublishedModel {
    TinyCheckpoint tiny = testing::tiny_qwen3_moe();
    std::map<std::string, std::vector<float>> values;

    PublishedModel(const Publish& publish, nlohmann::json quantization) {
        tiny.config["quantization_config"] = std::move(quantization);
        const std::map<std::string, TinyTensor> plain = tiny.tensors;
        for (const auto& [name, tensor] : plain) {
            if (!name.ends_with("_proj.weight")) continue;
            const std::string module = name.substr(0, name.rfind(".weight"));
            const PublishedMatrix matrix =
                publish(tensor.shape[0], tensor.shape[1], static_cast<uint32_t>(values.size()));
            tiny.tensors.erase(name);
            values[module] = matrix.values;
            for (const auto& [end, part] : matrix.tensors) tiny.tensors[module + end] = part;
        }
    }
};

void expect_values(const Publish& publish, const nlohmann::json& quantization) {
    SCOPED_TRACE(quantization.dump());
    const testing::TemporaryFolder folder;
    const PublishedModel model(publish, quantization);
    model.tiny.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    EXPECT_EQ(decoded(checkpoint->view(checkpoint->weight(1, Role::kQuery))),
              model.values.at("model.layers.1.self_attn.q_proj"));
    EXPECT_EQ(decoded(checkpoint->view(checkpoint->weight(0, Role::kOutput))),
              model.values.at("model.layers.0.self_attn.o_proj"));
    for (const Projection projection : kProjections) {
        const auto& wanted =
            model.values.at(fmt::format("model.layers.1.mlp.experts.3.{}", projection_name(projection)));
        EXPECT_EQ(expert_values(*checkpoint, 1, 3, projection), wanted) << projection_name(projection);
    }
    EXPECT_TRUE(checkpoint->skipped().empty()) << checkpoint->skipped().front().example;
}

nlohmann::json compressed_tensors(const std::string& format, const nlohmann::json& weights) {
    return {{"quant_method", "compressed-tensors"},
            {"format", format},
            {"config_groups", {{"group_0", {{"weights", weights}}}}}};
}

TEST(MatrixArrangement, AwqAndGptqStandForCodesLessZeroPointsTimesScales) {
    expect_values(
        [](int64_t r, int64_t c, uint32_t seed) { return Codes(r, c, 4, seed).awq(); },
        {{"quant_method", "awq"}, {"bits", 4}, {"group_size", 32}, {"version", "GEMM"}, {"zero_point", true}});
    for (const int bits : {4, 8}) {
        expect_values([&](int64_t r, int64_t c, uint32_t seed) { return Codes(r, c, bits, seed).gptq(1); },
                      {{"quant_method", "gptq"}, {"bits", bits}, {"group_size", 32}, {"desc_act", false}});
        expect_values([&](int64_t r, int64_t c, uint32_t seed) { return Codes(r, c, bits, seed).gptq(0); },
                      {{"quant_method", "gptq"}, {"bits", bits}, {"group_size", 32}, {"checkpoint_format", "gptq_v2"}});
    }
}

// A quantizer that may put columns in another order says in `g_idx` whether it has.
TEST(MatrixArrangement, ColumnsOfGptqMayBeInOrderWhateverTheConfigSays) {
    const nlohmann::json ordered = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}, {"desc_act", true}};
    const auto publish = [](bool turned) {
        return [=](int64_t r, int64_t c, uint32_t seed) {
            PublishedMatrix matrix = Codes(r, c, 4, seed).gptq(1);
            std::vector<int32_t> groups;
            for (int32_t i = 0; i < c; ++i) groups.push_back(i / 32);
            if (turned) std::ranges::reverse(groups);
            matrix.tensors[".g_idx"] = tensor_of(DType::kI32, {c}, groups);
            return matrix;
        };
    };
    expect_values(publish(false), ordered);
    const testing::TemporaryFolder folder;
    PublishedModel(publish(true), ordered).tiny.write(folder.path());
    testing::expect_error(ErrorCode::kUnsupported, {"g_idx", "act-order", "desc_act"},
                          [&] { Checkpoint::open(folder.path()); });
}

TEST(MatrixArrangement, CompressedTensorsMayHaveZeroPoints) {
    for (const int bits : {4, 8}) {
        expect_values([&](int64_t r, int64_t c, uint32_t seed) { return Codes(r, c, bits, seed).compressed(); },
                      compressed_tensors("pack-quantized", {{"num_bits", bits},
                                                            {"type", "int"},
                                                            {"symmetric", false},
                                                            {"strategy", "group"},
                                                            {"group_size", 32},
                                                            {"actorder", "weight"}}));
    }
}

TEST(MatrixArrangement, Fp8HasAScaleForEachRowOrForAll) {
    expect_values([](int64_t r, int64_t c, uint32_t seed) { return fp8(r, c, seed, true); },
                  compressed_tensors("float-quantized", {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}}));
    expect_values([](int64_t r, int64_t c, uint32_t seed) { return fp8(r, c, seed, false); },
                  {{"quant_method", "modelopt"}, {"quant_algo", "FP8"}});
}

// The tiny model's rows are shorter than a block.
TEST(MatrixArrangement, Nvfp4IsMultipliedOrDividedByAFactorOfTheWhole) {
    for (const bool divided : {true, false}) {
        const int64_t rows = 24, columns = 128;
        const PublishedMatrix published = nvfp4(rows, columns, 5, divided);
        ProjectionLayout layout;
        layout.format = kScaledNvfp4BlockCodec.standard;
        layout.rows = rows;
        layout.columns = columns;
        layout.scales = round_up(layout.format.data_bytes(rows, columns), 64);
        std::vector<std::byte> slot(layout.scales + 64);
        const StoredForm form{divided ? MatrixForm::kNvfp4Divided : MatrixForm::kNvfp4, DType::kF8E4M3};
        const LandingPlaces places = landing_places(form, layout);
        const auto land = [&](const std::string& end, uint64_t place) {
            std::ranges::copy(published.tensors.at(end).bytes, slot.begin() + static_cast<std::ptrdiff_t>(place));
        };
        land(divided ? ".weight_packed" : ".weight", places.data);
        land(".weight_scale", places.scales);
        land(divided ? ".weight_global_scale" : ".weight_scale_2", places.factors);
        std::vector<std::byte> scratch(matrix_scratch_bytes(form, layout));
        arrange_matrix(form, layout, slot.data(), scratch);
        EXPECT_EQ(decoded(view_in_slot(layout, slot.data())), published.values);
    }
}

TEST(MatrixArrangement, WhatCannotBeComputedIsRefusedByName) {
    const auto refused = [](const nlohmann::json& quantization, const std::vector<std::string>& words) {
        const testing::TemporaryFolder folder;
        const PublishedModel model([](int64_t r, int64_t c, uint32_t seed) { return Codes(r, c, 4, seed).gptq(1); },
                                   quantization);
        model.tiny.write(folder.path());
        testing::expect_error(ErrorCode::kUnsupported, words, [&] { Checkpoint::open(folder.path()); });
    };
    const nlohmann::json gptq = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}};
    const auto with = [&](const std::string& name, const nlohmann::json& value) {
        nlohmann::json changed = gptq;
        changed[name] = value;
        return changed;
    };
    refused(with("group_size", -1), {"config.json", "groups of -1"});
    refused(with("bits", 3), {"config.json", "bits", "3"});
    refused(with("checkpoint_format", "marlin"), {"checkpoint_format", "marlin", "gptq"});
    refused(with("quant_method", "bitsandbytes"), {"quant_method", "bitsandbytes", "awq"});
    refused({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 32}, {"version", "gemv"}}, {"version", "gemv"});
}

}  // namespace
}  // namespace sluice
