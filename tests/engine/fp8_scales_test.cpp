// FP8 checkpoints whose block scales are BF16 compute as those with the same numbers in F32, as published and packed.

#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "sluice/engine.h"
#include "sluice/pack.h"
#include "tensor/float_types.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

const fs::path kFp8 = sluice::testing::source_file("/tests/data/goldens/deepseek-v3-fp8");

// The golden with its scales rounded to BF16 numbers and stored as `dtype`.
void write_with_scales(const fs::path& target, DType dtype) {
    fs::create_directory(target);
    fs::copy_file(kFp8 / "config.json", target / "config.json");
    const SafetensorsReader source = SafetensorsReader::open(kFp8 / "model.safetensors");
    const auto is_scale = [](const std::string& name) { return name.ends_with("_scale_inv"); };
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const SafetensorsEntry& entry : source.header().tensors) {
        declarations.push_back({entry.name, is_scale(entry.name) ? dtype : entry.dtype, entry.shape});
    }
    SafetensorsWriter writer(target / "model.safetensors", declarations);
    size_t scales = 0;
    for (const SafetensorsEntry& entry : source.header().tensors) {
        if (!is_scale(entry.name)) {
            writer.write(entry.name, source.bytes(entry.name));
            continue;
        }
        ++scales;
        std::vector<float> wide = source.floats(entry.name);
        std::vector<uint16_t> narrow;
        for (float& scale : wide) {
            narrow.push_back(float_to_bf16(scale));
            scale = bf16_to_float(narrow.back());
        }
        writer.write(entry.name,
                     dtype == DType::kBF16 ? std::as_bytes(std::span(narrow)) : std::as_bytes(std::span(wide)));
    }
    ASSERT_GT(scales, 10u);
    writer.commit();
}

std::vector<float> logits_of(const fs::path& model, bool exact) {
    EngineOptions options;
    options.exact = exact;
    options.context = 128;
    const auto engine = Engine::open(model, options);
    std::vector<TokenId> ids(100);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i * 31 % 512);
    return engine->evaluate(*engine->new_session(), ids, LogitsWanted::kAll).logits;
}

TEST(Fp8Scales, BF16GivesTheBitsOfF32) {
    const TemporaryFolder folder;
    write_with_scales(folder / "f32", DType::kF32);
    write_with_scales(folder / "bf16", DType::kBF16);
    pack(folder / "bf16", folder / "packed", {});
    for (const bool exact : {true, false}) {
        const std::vector<float> expected = logits_of(folder / "f32", exact);
        EXPECT_EQ(logits_of(folder / "bf16", exact), expected);
        EXPECT_EQ(logits_of(folder / "packed", exact), expected);
    }
}

}  // namespace
}  // namespace sluice::testing
