// An n-gram table in every form in which it is published holds the same rows: the same values stored otherwise change
// no bit. What cannot be such a table is refused by name.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "model/model.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_families.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kColumns = 32, kRows = 144;  // of the one table
constexpr float kStep = 0.125f, kLowest = -1;  // of values, which are 16
constexpr const char* kTable = "model.layers.1.ple.ple_embedding.ngram_embedding";

nlohmann::json config_of_tables() {
    nlohmann::json config = tiny_qwen4_exp_config();
    config.update({{"ple_layer_ids", {2}}, {"ple_embed_dim", 4 * kColumns}, {"split_ngram_parts", 3}});
    config["quantization"] = {{"group_size", kColumns}, {"bits", 4}};
    return config;
}

int code_of(int64_t row, int64_t column) {
    return static_cast<int>((row * 7 + column * 5 + row * column) % 16);
}

template <typename Value>
void append(TinyTensor& tensor, Value value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    tensor.bytes.insert(tensor.bytes.end(), bytes.begin(), bytes.end());
}

// A row's value in a type, which holds all of them exactly.
void append_value(TinyTensor& tensor, float value) {
    if (tensor.dtype == DType::kF32) append(tensor, value);
    if (tensor.dtype == DType::kBF16) append(tensor, float_to_bf16(value));
    if (tensor.dtype == DType::kF8E4M3) append(tensor, float_to_e4m3(2 * value));
}

TinyTensor values_of(DType dtype, int64_t first, int64_t count) {
    TinyTensor tensor{dtype, {count, kColumns}, {}};
    for (int64_t row = first; row < first + count; ++row) {
        for (int64_t column = 0; column < kColumns; ++column) {
            append_value(tensor, kLowest + kStep * static_cast<float>(code_of(row, column)));
        }
    }
    return tensor;
}

TinyTensor filled(DType dtype, std::vector<int64_t> shape, float value) {
    TinyTensor tensor{dtype, std::move(shape), {}};
    int64_t count = 1;
    for (const int64_t size : tensor.shape) count *= size;
    for (int64_t i = 0; i < count; ++i) append_value(tensor, value);
    return tensor;
}

TinyTensor codes_of(int64_t first, int64_t count) {
    TinyTensor tensor{DType::kU32, {count, kColumns / 8}, {}};
    for (int64_t row = first; row < first + count; ++row) {
        for (int64_t word = 0; word < kColumns / 8; ++word) {
            uint32_t packed = 0;
            for (int64_t i = 0; i < 8; ++i) {
                packed |= static_cast<uint32_t>(code_of(row, 8 * word + i)) << (4 * i);
            }
            append(tensor, packed);
        }
    }
    return tensor;
}

class RowTableForms : public ::testing::Test {
  protected:
    RowTableForms() : tiny_(tiny_model(config_of_tables())) {
        std::erase_if(tiny_.tensors, [](const auto& entry) { return entry.first.starts_with(kTable); });
    }

    static std::string part(int64_t number) { return kTable + (".shard_" + std::to_string(number)); }

    void store_parts(DType dtype, const std::vector<int64_t>& sizes, const std::string& folder = ".shard_") {
        int64_t first = 0;
        for (size_t i = 0; i < sizes.size(); ++i) {
            tiny_.tensors[kTable + folder + std::to_string(i) + ".weight"] = values_of(dtype, first, sizes[i]);
            first += sizes[i];
        }
    }

    // With the table read so, and what that took.
    std::vector<float> logits(const RowTableOptions& reading = {}, ExpertCounters* spent = nullptr) {
        const TemporaryFolder folder;
        tiny_.write(folder / "model");
        const auto checkpoint = Checkpoint::open(folder / "model");
        EXPECT_TRUE(checkpoint->skipped().empty()) << checkpoint->skipped().front().example;
        const auto backend = make_cpu_backend({.threads = 1, .exact = true});
        Model model(checkpoint, *backend, KvFormat::kF32);
        ExpertStore store(checkpoint, {.cache_bytes = uint64_t{64} << 20},
                          [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
        model.use_experts(store, nullptr);
        RowTables tables;
        tables[1] = std::make_unique<RowTable>(RowTableFiles::of(*checkpoint, 1), reading);
        model.use_row_tables(tables);
        std::vector<int32_t> ids;
        for (int32_t i = 0; i < 30; ++i) ids.push_back((i * i * 3 + 1) % 40);
        const auto state = model.new_state();
        const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {10, 29}};
        const ForwardOutput output = std::move(model.forward(std::span(&input, 1)).front());
        if (output.error) std::rethrow_exception(output.error);
        if (spent != nullptr) *spent = tables[1]->counters();
        return output.logits;
    }

    std::string refusal() {
        try {
            logits();
        } catch (const Error& error) {
            return error.what();
        }
        return "nothing was refused";
    }

    std::vector<float> expected() {
        TinyCheckpoint kept = tiny_;
        store_parts(DType::kF32, {48, 48, 48});
        const std::vector<float> values = logits();
        tiny_ = kept;
        return values;
    }

    TinyCheckpoint tiny_;
};

TEST_F(RowTableForms, PartsOfAnySizesByNumber) {
    const std::vector<float> values = expected();
    store_parts(DType::kBF16, {13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 1});
    EXPECT_TRUE(logits() == values) << "shard_10 follows shard_9";
}

TEST_F(RowTableForms, AsAFolderOfShardsAndWhole) {
    const std::vector<float> values = expected();
    const TinyCheckpoint bare = tiny_;
    store_parts(DType::kBF16, {72, 72}, ".shards.");
    EXPECT_TRUE(logits() == values);
    tiny_ = bare;
    tiny_.tensors[std::string(kTable) + ".weight"] = values_of(DType::kF32, 0, kRows);
    EXPECT_TRUE(logits() == values);
}

// Some rows of a prompt occur several times, and most share a page.
TEST_F(RowTableForms, EveryReaderGivesTheSameBitsAndAPromptReadsAPageOnce) {
    const std::vector<float> values = expected();
    store_parts(DType::kF32, {48, 48, 48});
    constexpr uint64_t kBytes = kRows * kColumns * sizeof(float), kPages = kBytes / kPageBytes + 2;
    for (const ReaderKind reader : {ReaderKind::kPread, ReaderKind::kUring, ReaderKind::kMmap}) {
        for (const When direct : {When::kOff, When::kOn}) {
            ExpertCounters spent;
            EXPECT_TRUE(logits({.reader = reader, .direct_io = direct}, &spent) == values);
            EXPECT_LT(spent.row_reads, 4u * 30) << "30 tokens of 4 rows each";
            EXPECT_LE(spent.row_bytes, kPages * kPageBytes);
            EXPECT_EQ(spent.failed_reads, 0u);
        }
    }
}

TEST_F(RowTableForms, Fp8WithOneScaleOrOneForEachRow) {
    const std::vector<float> values = expected();
    store_parts(DType::kF8E4M3, {100, 44});
    const TinyCheckpoint unscaled = tiny_;
    tiny_.tensors[std::string(kTable) + ".weight_scale"] = filled(DType::kBF16, {1}, 0.5f);
    EXPECT_TRUE(logits() == values);
    tiny_ = unscaled;
    EXPECT_THAT(refusal(), HasSubstr("F8_E4M3 without"));
    tiny_.tensors[part(0) + ".weight_scale"] = filled(DType::kF32, {100, 1}, 0.5f);
    tiny_.tensors[part(1) + ".weight_scale"] = filled(DType::kF32, {44, 1}, 0.5f);
    EXPECT_TRUE(logits() == values);
}

TEST_F(RowTableForms, CodesWithScalesAndBiases) {
    const std::vector<float> values = expected();
    for (int64_t i = 0; i < 3; ++i) {
        const std::string name = kTable + (".shards." + std::to_string(i));
        tiny_.tensors[name + ".weight"] = codes_of(48 * i, 48);
        tiny_.tensors[name + ".scales"] = filled(DType::kBF16, {48, 1}, kStep);
        tiny_.tensors[name + ".biases"] = filled(DType::kBF16, {48, 1}, kLowest);
    }
    EXPECT_TRUE(logits() == values);
}

TEST_F(RowTableForms, TheStoredHashCountsBeforeTheConfigs) {
    store_parts(DType::kF32, {48, 48, 48});
    const std::vector<float> values = logits();
    const std::string folder = "model.layers.1.ple.ple_embedding.";
    const auto store = [&](const std::string& name, const std::vector<int64_t>& numbers) {
        TinyTensor tensor{DType::kI64, {static_cast<int64_t>(numbers.size())}, {}};
        for (const int64_t number : numbers) append(tensor, number);
        tiny_.tensors[folder + name] = std::move(tensor);
    };
    store("layer_multipliers", ngram_multipliers(40, 3, 0, 1234));
    store("ngram_heads_vocab_sizes", {29, 31, 37, 41});
    store("ngram_heads_offsets", {0, 29, 60, 97});
    EXPECT_TRUE(logits() == values) << "they say what the config says";
    store("ngram_heads_offsets", {1, 29, 60, 97});
    EXPECT_FALSE(logits() == values);
    store("ngram_heads_offsets", {0, 29, 60, 104});
    EXPECT_THAT(refusal(), HasSubstr("ngram_heads_offsets: 104 makes no sense for a table of 144 rows"));
    TinyTensor narrow{DType::kI32, {4}, {}};
    for (const int32_t offset : {0, 29, 60, 97}) append(narrow, offset);
    tiny_.tensors[folder + "ngram_heads_offsets"] = narrow;
    EXPECT_TRUE(logits() == values) << "in I32, too";
    store("layer_multipliers", {5, 0, 7});
    EXPECT_THAT(refusal(), HasSubstr("layer_multipliers: 0 makes no sense"));
}

TEST_F(RowTableForms, WhatIsNoTableIsRefused) {
    EXPECT_THAT(refusal(), HasSubstr("ngram_embedding.weight"));
    const TinyCheckpoint bare = tiny_;
    store_parts(DType::kF32, {48, 48, 48});
    const TinyCheckpoint whole = tiny_;
    tiny_.tensors.erase(part(1) + ".weight");
    EXPECT_THAT(refusal(), HasSubstr("no tensor " + part(1) + ".weight"));
    tiny_ = bare;
    store_parts(DType::kF32, {48, 48});
    EXPECT_THAT(refusal(), HasSubstr("has 96 rows, but config.json's n-grams choose among 138"));
    tiny_ = whole;
    tiny_.tensors[part(2) + ".weight"] = values_of(DType::kBF16, 96, 48);
    EXPECT_THAT(refusal(), HasSubstr("is BF16, but the first part of its table is F32"));
    tiny_ = whole;
    tiny_.tensors[part(2) + ".weight"].shape = {96, kColumns / 2};
    EXPECT_THAT(refusal(), HasSubstr("its shape is [96, 16]"));
}

}  // namespace
}  // namespace sluice::testing
