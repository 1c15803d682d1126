// Experts that are published in another form than a record has, and what landing makes of them.

#include "checkpoint/expert_arrangement.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "checkpoint/expert_layout.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

constexpr int64_t kHidden = 96, kInner = 40;

std::vector<float> decoded(const WeightView& view) {
    std::vector<float> values(static_cast<size_t>(view.rows * view.columns));
    for (int64_t row = 0; row < view.rows; ++row) decode_row(view, row, values.data() + row * view.columns);
    return values;
}

std::vector<std::byte> random_bytes(uint64_t count, uint32_t seed, int largest = 255) {
    std::mt19937 random(seed);
    std::vector<std::byte> bytes(count);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % static_cast<uint32_t>(largest + 1));
    return bytes;
}

std::vector<float> random_floats(int64_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 200) - 100) / 64;
    return values;
}

void arrange(const ExpertForm& form, const ExpertLayout& layout, std::vector<std::byte>& slot) {
    std::vector<std::byte> scratch(arrangement_scratch_bytes(form, layout).value());
    arrange_expert(form, layout, slot, scratch);
}

TEST(ExpertArrangement, RowsThatTakeTurnsArePartedWithTheirScales) {
    const WeightFormat format = kMxfp4Codec.standard;
    const ExpertLayout layout = make_expert_layout(format, format, format, kHidden, kInner * 2);
    const int64_t rows = 2 * layout.gate.rows;
    const auto data = random_bytes(format.data_bytes(rows, kHidden), 1);
    const auto scales = random_bytes(format.scale_bytes(rows, kHidden), 2, 130);
    std::vector<std::byte> slot(layout.record_bytes);
    std::ranges::copy(data, slot.begin());
    std::ranges::copy(scales, slot.begin() + static_cast<std::ptrdiff_t>(data.size()));
    arrange({.alternating = true}, layout, slot);
    const WeightView both{
        .format = format, .rows = rows, .columns = kHidden, .data = data.data(), .scales = scales.data()};
    const std::vector<float> wanted = decoded(both), gate = decoded(view_in_slot(layout.gate, slot.data())),
                             up = decoded(view_in_slot(layout.up, slot.data()));
    for (int64_t row = 0; row < rows; ++row) {
        const std::vector<float>& found = row % 2 == 0 ? gate : up;
        for (int64_t i = 0; i < kHidden; ++i) {
            ASSERT_EQ(found[static_cast<size_t>(row / 2 * kHidden + i)], wanted[static_cast<size_t>(row * kHidden + i)])
                << "row " << row;
        }
    }
}

// Columns of a stack in x out become rows, of gate and up in turn or one after the other.
void expect_transposed(DType dtype, bool alternating) {
    const WeightFormat format = WeightFormat::floating(dtype);
    const ExpertLayout layout = make_expert_layout(format, format, format, kHidden, kInner);
    const std::vector<float> both = random_floats(2 * kInner * kHidden, 3), down = random_floats(kInner * kHidden, 4);
    std::vector<std::byte> slot(layout.record_bytes);
    kFloatCodec.encode(format, both.data(), kHidden, 2 * kInner, {.data = slot.data()});
    kFloatCodec.encode(format, down.data(), kInner, kHidden, {.data = slot.data() + layout.down.data});
    arrange({.alternating = alternating, .transposed = true}, layout, slot);
    const std::vector<float> gate = decoded(view_in_slot(layout.gate, slot.data())),
                             up = decoded(view_in_slot(layout.up, slot.data())),
                             out = decoded(view_in_slot(layout.down, slot.data()));
    for (int64_t row = 0; row < kInner; ++row) {
        const int64_t of_gate = alternating ? 2 * row : row, of_up = alternating ? 2 * row + 1 : kInner + row;
        for (int64_t column = 0; column < kHidden; ++column) {
            const auto at = static_cast<size_t>(row * kHidden + column);
            ASSERT_EQ(gate[at], both[static_cast<size_t>(column * 2 * kInner + of_gate)]);
            ASSERT_EQ(up[at], both[static_cast<size_t>(column * 2 * kInner + of_up)]);
            ASSERT_EQ(out[static_cast<size_t>(column * kInner + row)], down[at]);
        }
    }
}

TEST(ExpertArrangement, StacksInTimesOutAreTransposed) {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
        expect_transposed(dtype, false);
        expect_transposed(dtype, true);
    }
}

TEST(ExpertArrangement, WhatIsARecordIsLeftAlone) {
    const WeightFormat format = WeightFormat::floating(DType::kBF16);
    const ExpertLayout layout = make_expert_layout(format, format, format, kHidden, kInner);
    EXPECT_FALSE(arrangement_scratch_bytes({}, layout).has_value());
}

// Words of codes, and a scale for each group, as compressed-tensors stores a projection.
void pack_integers(testing::TinyCheckpoint& tiny, const std::string& module, int bits, int group) {
    const testing::TinyTensor plain = tiny.tensors.at(module + ".weight");
    const int64_t rows = plain.shape[0], columns = plain.shape[1];
    const auto words = static_cast<uint64_t>(rows * columns * bits / 32);
    std::vector<float> scales = random_floats(rows * columns / group, 7);
    testing::TinyTensor scale{DType::kBF16, {rows, columns / group}, {}};
    for (const float value : scales) {
        const uint16_t half = float_to_bf16(value);
        const auto* bytes = reinterpret_cast<const std::byte*>(&half);
        scale.bytes.insert(scale.bytes.end(), bytes, bytes + sizeof half);
    }
    tiny.tensors.erase(module + ".weight");
    tiny.tensors[module + ".weight_packed"] = {
        DType::kI32, {rows, columns * bits / 32}, random_bytes(words * 4, static_cast<uint32_t>(module.size()))};
    tiny.tensors[module + ".weight_scale"] = scale;
    tiny.tensors[module + ".weight_shape"] = {DType::kI32, {2}, std::vector<std::byte>(8)};
}

testing::TinyCheckpoint kimi_of_integers(int bits) {
    testing::TinyCheckpoint tiny = testing::tiny_deepseek_v3();
    std::vector<std::string> modules;
    for (const auto& [name, tensor] : tiny.tensors) {
        if (name.find(".experts.") != std::string::npos) modules.push_back(name.substr(0, name.rfind(".weight")));
    }
    for (const std::string& module : modules) pack_integers(tiny, module, bits, 32);
    tiny.config["model_type"] = "kimi_k25";
    const nlohmann::json weights = {{"num_bits", bits}, {"type", "int"},       {"symmetric", true},
                                    {"group_size", 32}, {"strategy", "group"}, {"actorder", nullptr}};
    tiny.config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                          {"format", "pack-quantized"},
                                          {"config_groups", {{"group_0", {{"weights", weights}}}}}};
    return tiny;
}

TEST(ExpertArrangement, CodesWithoutZeroPointsStandForNumbersAroundZero) {
    for (const int bits : {4, 8}) {
        const testing::TemporaryFolder folder;
        const testing::TinyCheckpoint tiny = kimi_of_integers(bits);
        tiny.write(folder.path());
        const auto checkpoint = Checkpoint::open(folder.path());
        EXPECT_EQ(checkpoint->expert_layout(1).up.format, WeightFormat::affine(bits, 32, DType::kBF16));
        std::vector<std::byte> slot(checkpoint->expert_layout(1).record_bytes);
        for (const ExpertRead& read : checkpoint->expert_reads(1, 2)) {
            const auto bytes = checkpoint->mapped(read.source);
            std::memcpy(slot.data() + read.slot_offset, bytes.data(), bytes.size());
        }
        EXPECT_EQ(checkpoint->arrangement_scratch(1), 0u);
        checkpoint->arrange_expert(1, slot, {});
        const ProjectionLayout& up = checkpoint->expert_layout(1).up;
        const std::vector<float> values = decoded(view_in_slot(up, slot.data()));
        const auto& codes = tiny.tensors.at("model.layers.1.mlp.experts.2.up_proj.weight_packed").bytes;
        const auto& scales = tiny.tensors.at("model.layers.1.mlp.experts.2.up_proj.weight_scale").bytes;
        for (size_t i = 0; i < values.size(); ++i) {
            const auto byte = static_cast<int>(codes[bits == 4 ? i / 2 : i]);
            const int code = bits == 8 ? byte : i % 2 == 0 ? byte & 15 : byte >> 4;
            const float scale = bf16_to_float(load_unaligned<uint16_t>(scales.data() + i / 32 * 2));
            ASSERT_EQ(values[i], static_cast<float>(code - (1 << (bits - 1))) * scale) << "element " << i;
        }
    }
}

TEST(ExpertArrangement, RefusesIntegersThatMeanSomethingElse) {
    const auto refused = [](const std::function<void(nlohmann::json&)>& change, std::vector<std::string> words) {
        const testing::TemporaryFolder folder;
        testing::TinyCheckpoint tiny = kimi_of_integers(4);
        change(tiny.config["quantization_config"]);
        tiny.write(folder.path());
        testing::expect_error(ErrorCode::kUnsupported, words, [&] { Checkpoint::open(folder.path()); });
    };
    const auto weights = [](nlohmann::json& config) -> nlohmann::json& {
        return config["config_groups"]["group_0"]["weights"];
    };
    refused([&](nlohmann::json& c) { weights(c)["actorder"] = "group"; }, {"config.json", "actorder"});
    refused([&](nlohmann::json& c) { weights(c)["num_bits"] = 3; }, {"config.json", "num_bits", "4 bits"});
    refused([&](nlohmann::json& c) { weights(c)["group_size"] = 24; }, {"config.json", "24"});
    refused([&](nlohmann::json& c) { c["format"] = "marlin-24"; }, {"config.json", "marlin-24", "pack-quantized"});
    refused([&](nlohmann::json& c) { c["config_groups"]["group_1"] = weights(c); }, {"config_groups"});
}

}  // namespace
}  // namespace sluice
