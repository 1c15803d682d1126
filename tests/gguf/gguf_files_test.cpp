#include "gguf/gguf_files.h"

#include <gtest/gtest.h>

#include "tests/support/gguf_writer.h"
#include "tests/support/temporary_folder.h"

namespace sluice {
namespace {

using testing::TemporaryFolder;

void touch(const std::filesystem::path& path) {
    write_text_file(path, "GGUF");
}

TEST(GgufFiles, AFileOfTheExtensionIsTheModel) {
    EXPECT_EQ(find_gguf_model("a/b.gguf"), "a/b.gguf");
    EXPECT_EQ(find_gguf_model("a/b-00003-of-00005.gguf"), "a/b-00001-of-00005.gguf");
    EXPECT_EQ(find_gguf_model("a/config.json"), std::nullopt);
    const TemporaryFolder folder;
    touch(folder / "sha256-1234");
    EXPECT_EQ(find_gguf_model(folder / "sha256-1234"), folder / "sha256-1234");
    write_text_file(folder / "config.json", "{}");
    EXPECT_EQ(find_gguf_model(folder / "config.json"), std::nullopt);
}

TEST(GgufFiles, AFolderIsTheOneModelInIt) {
    const TemporaryFolder folder;
    EXPECT_EQ(find_gguf_model(folder.path()), std::nullopt);
    for (const char* name : {"mmproj-F16.gguf", "mtp-x.gguf", "imatrix.gguf", "x.imatrix.gguf", "tokenizer.gguf"}) {
        touch(folder / name);
    }
    EXPECT_EQ(find_gguf_model(folder.path()), std::nullopt);
    touch(folder / "x-00002-of-00002.gguf");
    touch(folder / "x-00001-of-00002.gguf");
    EXPECT_EQ(find_gguf_model(folder.path()), folder / "x-00001-of-00002.gguf");
    touch(folder / "y.gguf");
    EXPECT_THROW(find_gguf_model(folder.path()), Error);
}

TEST(GgufFiles, WhatSaysItselfThatItIsNoModelIsNone) {
    const TemporaryFolder folder;
    touch(folder / "model.gguf");
    testing::GgufWriter adapter, eyes;
    adapter.add("general.type", "adapter");
    adapter.write(folder / "a-lora.gguf");
    eyes.add("general.architecture", "clip");
    eyes.write(folder / "z-vision.gguf");
    EXPECT_EQ(find_gguf_model(folder.path()), folder / "model.gguf");
    testing::GgufWriter other;
    other.add("general.type", "model");
    other.write(folder / "other.gguf");
    EXPECT_THROW(find_gguf_model(folder.path()), Error);
}

TEST(GgufFiles, ACheckpointInSafetensorsComesFirst) {
    const TemporaryFolder folder;
    touch(folder / "x.gguf");
    touch(folder / "reference.safetensors");
    EXPECT_EQ(find_gguf_model(folder.path()), folder / "x.gguf");
    touch(folder / "config.json");
    EXPECT_EQ(find_gguf_model(folder.path()), std::nullopt);
}

TEST(GgufFiles, TextStandsInTheModelOrBesideSafetensors) {
    const TemporaryFolder folder;
    touch(folder / "config.json");
    touch(folder / "model.safetensors");
    EXPECT_EQ(find_gguf_text(folder.path()), std::nullopt);
    touch(folder / "tokenizer.gguf");
    EXPECT_EQ(find_gguf_text(folder.path()), folder / "tokenizer.gguf");
    touch(folder / "tokenizer.json");
    EXPECT_EQ(find_gguf_text(folder.path()), std::nullopt);
    EXPECT_EQ(find_gguf_text("a/b.gguf"), "a/b.gguf");
}

TEST(GgufFiles, PartsAreFoundByTheNameOfTheFirst) {
    EXPECT_EQ(gguf_part("d/x-00001-of-00003.gguf", 2, 3), "d/x-00002-of-00003.gguf");
    EXPECT_EQ(gguf_part("d/x-00001-of-00003.gguf", 2, 4), std::nullopt);
    EXPECT_EQ(gguf_part("d/x.gguf", 2, 3), std::nullopt);
    EXPECT_EQ(gguf_part("d/x-0001-of-0003.gguf", 2, 3), std::nullopt);
}

}  // namespace
}  // namespace sluice
