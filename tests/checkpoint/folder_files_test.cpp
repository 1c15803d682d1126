// Which files of a folder are the model's weights, and what is said of those that are not.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";

class FolderFiles : public ::testing::Test {
  protected:
    // Shards "model-0000K-of-0000N.safetensors" with their index.
    void write(size_t shards) const { tiny_qwen3_moe().write(folder_.path(), shards); }
    fs::path shard(size_t number, size_t count, const std::string& stem = "model") const {
        return folder_ / fmt::format("{}-{:05}-of-{:05}.safetensors", stem, number, count);
    }
    void write_index(const nlohmann::json& weight_map) const {
        write_text_file(folder_ / kIndex, nlohmann::json{{"weight_map", weight_map}}.dump());
    }
    nlohmann::json weight_map() const {
        return nlohmann::json::parse(read_text_file(folder_ / kIndex)).at("weight_map");
    }
    size_t files() const { return Checkpoint::open(folder_.path())->files().size(); }
    void expect_refused(ErrorCode code, const std::vector<std::string>& parts) const {
        expect_error(code, parts, [&] { Checkpoint::open(folder_.path()); });
    }

    TemporaryFolder folder_;
};

TEST_F(FolderFiles, AnIndexThatLeavesShardsOutNamesTheRestByItsShards) {
    write(3);
    const nlohmann::json all = weight_map();
    nlohmann::json some = nlohmann::json::object();
    for (const auto& [tensor, file] : all.items()) {
        if (file == shard(1, 3).filename().string()) some[tensor] = file;
    }
    write_index(some);
    EXPECT_EQ(files(), 3u);
}

TEST_F(FolderFiles, AnIndexThatCannotBeReadMayBeRemoved) {
    write(2);
    for (const char* text : {"", "[]", "{", "{\"weight_map\": {}}", "<html>404</html>", "version https://git-lfs"}) {
        write_text_file(folder_ / kIndex, text);
        expect_refused(ErrorCode::kInvalidFile, {kIndex, "remove the index"});
    }
    fs::remove(folder_ / kIndex);
    EXPECT_EQ(files(), 2u);
}

TEST_F(FolderFiles, ShardsAreOneSetWhateverStandsBeside) {
    write(2);
    fs::remove(folder_ / kIndex);
    for (const size_t number : {1, 2}) fs::rename(shard(number, 2), shard(number, 2, "qwen"));
    fs::copy_file(shard(1, 2, "qwen"), folder_ / "copy.safetensors");
    EXPECT_EQ(files(), 2u);
    fs::copy_file(shard(1, 2, "qwen"), shard(1, 7, "older"));
    EXPECT_EQ(files(), 2u) << "of two sets the one that is whole";
    fs::remove(shard(2, 2, "qwen"));
    expect_refused(ErrorCode::kNotFound, {"6 of the 7 shards", "are missing"});
}

TEST_F(FolderFiles, WhatWasPassedOverIsNamedWhereATensorIsMissing) {
    write(2);
    fs::remove(folder_ / kIndex);
    fs::copy_file(shard(1, 2), folder_ / "model.safetensors");
    expect_refused(ErrorCode::kNotFound,
                   {"no tensor", shard(1, 2).filename().string(), "(model.safetensors)", "remove"});
}

TEST_F(FolderFiles, WeightsOfOtherFormatsAndInOtherPlacesAreNamed) {
    write(1);
    fs::rename(folder_ / "model.safetensors", folder_ / "pytorch_model.bin");
    expect_refused(ErrorCode::kNotFound, {"pytorch_model.bin", "another format", "safetensors"});
    fs::create_directory(folder_ / "weights");
    fs::rename(folder_ / "pytorch_model.bin", folder_ / "weights/model.safetensors");
    expect_refused(ErrorCode::kNotFound, {"there are some in", "weights"});
}

TEST_F(FolderFiles, WhatIsNoSafetensorsFileIsCalledWhatItIs) {
    write(1);
    const std::pair<std::string, const char*> kinds[] = {
        {"  <?xml version=\"1.0\"?><Error/>", "a page of HTML"},
        {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
        {"PK\x03\x04" + std::string(100, '\0'), "a zip archive"},
        {"\x1f\x8b\x08" + std::string(100, '\0'), "a gzip archive"},
        {"{\"error\":\"Repository not found\"}", "a text that begins with"},
        {"Access to the model is restricted", "a text that begins with Access t"},
        {"\x80\x02}q" + std::string(100, '\1'), "or one that was cut off"}};
    for (const auto& [content, name] : kinds) {
        write_text_file(folder_ / "model.safetensors", content);
        expect_refused(ErrorCode::kInvalidFile, {"model.safetensors", name, "a safetensors file"});
    }
}

}  // namespace
}  // namespace sluice::testing
