#include "checkpoint/published.h"

#include <gtest/gtest.h>

#include "checkpoint/weight_resolver.h"
#include "tensor/codecs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;

TEST(Published, AFolderYieldsWhatStandsInIt) {
    const TemporaryFolder folder;
    testing::TinyCheckpoint tiny = testing::tiny_qwen3_moe();
    tiny.metadata["format"] = "pt";
    tiny.write(folder.path(), 2);
    const Published published = read_folder(folder.path());
    EXPECT_EQ(published.source, folder.path());
    EXPECT_EQ(nlohmann::json::parse(published.config_text), tiny.config);
    EXPECT_EQ(published.config_label, (folder.path() / "config.json").string());
    ASSERT_EQ(published.files.size(), 2u);
    ASSERT_EQ(published.metadata.size(), 2u);
    EXPECT_EQ(published.metadata[1].at("format"), "pt");
    ASSERT_EQ(published.tensors.size(), tiny.tensors.size());
    for (const StoredTensor& tensor : published.tensors) {
        EXPECT_EQ(tensor.codec, nullptr);
        EXPECT_EQ(tensor.entry.shape, tiny.tensors.at(tensor.entry.name).shape) << tensor.entry.name;
        EXPECT_LE(tensor.entry.offset + tensor.entry.bytes, published.files[tensor.file].bytes);
    }
}

// As a container has it that stores matrices in blocks: the shape is that of the values.
TEST(Published, TensorsMayBeBlocksOfACodec) {
    const WeightFormat& format = kQ8_0Codec.standard;
    Published published;
    published.files = {{"model.gguf", 1 << 20}};
    published.tensors = {{.entry = {.name = "w", .dtype = DType::kU8, .shape = {3, 64}, .offset = 128, .bytes = 3 * 68},
                          .file = 0,
                          .codec = &kQ8_0Codec}};
    ModuleTensors tensors;
    tensors.parts[static_cast<size_t>(TensorPart::kWeight)] = 0;
    const QuantizationConfig none = QuantizationConfig::parse("{}", "config.json");
    const WeightSource source = WeightResolver(published, none).matrix("w", tensors, {3}, 64);
    EXPECT_EQ(source.format, format);
    EXPECT_EQ(source.rows, 3);
    EXPECT_EQ(source.data.offset, 128u);
    EXPECT_EQ(source.data.bytes, format.data_bytes(3, 64));

    const auto expect_bad = [&](std::vector<int64_t> shape, const std::vector<std::string>& parts) {
        published.tensors[0].entry.shape = shape;
        WeightResolver resolver(published, none);
        expect_error(ErrorCode::kInvalidFile, parts, [&] { resolver.matrix("w", tensors, {shape[0]}, shape[1]); });
    };
    expect_bad({3, 48}, {"model.gguf", "w", "q8_0", "48"});
    expect_bad({4, 64}, {"model.gguf", "w", "204", "272"});
}

}  // namespace
}  // namespace sluice
