// Two models of one base have equal configs and equal headers: nothing of one may pass for the other's.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "checkpoint/safetensors.h"
#include "sluice/engine.h"
#include "sluice/pack.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

std::vector<SafetensorsEntry> tensors_of(const fs::path& model) {
    return SafetensorsReader::open(model / "model.safetensors").header().tensors;
}

// Puts the bytes of one of the model's tensors into another order.
void rotate_tensor(const fs::path& model, const SafetensorsEntry& tensor) {
    const fs::path file = model / "model.safetensors";
    fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    std::string bytes(tensor.bytes, '\0');
    stream.seekg(static_cast<std::streamoff>(tensor.offset));
    stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    std::ranges::rotate(bytes, bytes.begin() + 4);
    stream.seekp(static_cast<std::streamoff>(tensor.offset));
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// The base's files but for one tensor, whose bytes stand in another order.
class Identity : public ::testing::Test {
  protected:
    void SetUp() override {
        fs::copy(kBase, tuned());
        const std::vector<SafetensorsEntry> tensors = tensors_of(tuned());
        rotate_tensor(tuned(), *std::ranges::max_element(tensors, {}, &SafetensorsEntry::bytes));
    }
    fs::path tuned() const { return folder_ / "tuned"; }

    const fs::path kBase = source_file("/tests/data/goldens/qwen3-moe-mlx4");
    TemporaryFolder folder_;
};

TEST_F(Identity, TheFingerprintTellsThemApart) {
    const auto base = Engine::open(kBase, {}), tuned = Engine::open(this->tuned(), {});
    EXPECT_NE(base->info().fingerprint, tuned->info().fingerprint);
    fs::copy(kBase, folder_ / "copy");
    EXPECT_EQ(base->info().fingerprint, Engine::open(folder_ / "copy", {})->info().fingerprint);
}

TEST_F(Identity, EveryMatrixOfTheTrunkCounts) {
    const std::string base = Engine::open(kBase, {})->info().fingerprint;
    size_t tried = 0;
    for (const SafetensorsEntry& tensor : tensors_of(kBase)) {
        if (tensor.name.find("v_proj.weight") == std::string::npos) continue;
        const fs::path other = folder_ / std::to_string(tried++);
        fs::copy(kBase, other);
        rotate_tensor(other, tensor);
        EXPECT_NE(Engine::open(other, {})->info().fingerprint, base) << tensor.name;
    }
    EXPECT_GT(tried, 0u);
}

TEST_F(Identity, ASnapshotIsRefused) {
    const auto base = Engine::open(kBase, {}), tuned = Engine::open(this->tuned(), {});
    const auto session = base->new_session();
    base->evaluate(*session, std::vector<TokenId>{1, 2, 3, 4});
    session->save(folder_ / "session");
    try {
        tuned->new_session()->load(folder_ / "session");
        ADD_FAILURE() << "loaded";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("another model"), std::string::npos) << error.what();
    }
}

TEST_F(Identity, APackingOfTheOtherIsNotGoneOnWith) {
    pack(tuned(), folder_ / "packed", {});
    fs::remove_all(tuned());
    fs::copy(kBase, tuned());
    EXPECT_THROW(pack(tuned(), folder_ / "packed", {}), Error);
    fs::remove_all(folder_ / "packed");
    EXPECT_NO_THROW(pack(tuned(), folder_ / "packed", {}));
    EXPECT_NO_THROW(pack(tuned(), folder_ / "packed", {})) << "the same source";
}

}  // namespace
}  // namespace sluice::testing
