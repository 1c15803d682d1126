// Hostile GGUF files: header, what is read from it as text, and the tensors that it claims to hold.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/catalogue.h"
#include "checkpoint/published.h"
#include "gguf/gguf_header.h"
#include "sluice/tokenizer.h"
#include "text/gguf_tokenizer.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

template <typename Action>
void expect_ours(Action&& action) {
    try {
        action();
    } catch (const sluice::Error& error) {
        require(std::string_view(error.what()).find('\n') == std::string_view::npos);
    }
}

// A folder of the process's own, gone with it.
class Folder {
  public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "gguf-fuzz-XXXXXX").string();
        require(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    std::filesystem::path file() const { return path_ / "x.gguf"; }

  private:
    std::filesystem::path path_;
};

void fuzz_header(std::span<const std::byte> file) {
    const auto header = sluice::GgufHeader::parse(file, "fuzz");
    for (const sluice::GgufTensor& tensor : header.tensors()) {
        uint64_t elements = 1;
        for (const uint64_t size : tensor.sizes) elements *= size;
        require(elements > 0 && elements <= static_cast<uint64_t>(INT64_MAX));
    }
    expect_ours([&] { sluice::gguf_special_tokens(header); });
    expect_ours([&] { sluice::gguf_generation_config(header); });
    expect_ours([&] { sluice::gguf_chat_templates(header); });
    expect_ours([&] { sluice::read_gguf_tokenizer(header); });
}

void fuzz_tensors(std::string_view data) {
    static const Folder folder;
    sluice::write_text_file(folder.file(), std::string(data));
    expect_ours([&] {
        const sluice::Published published = sluice::read_gguf(folder.file());
        for (const sluice::StoredTensor& tensor : published.tensors) {
            require(tensor.entry.offset + tensor.entry.bytes <= data.size());
        }
        sluice::build_catalogue(published);
    });
    expect_ours([&] {
        const auto tokenizer = sluice::Tokenizer::open(folder.file());
        tokenizer.decode(tokenizer.encode("Hello 123 \xC3\xA9<s>", true));
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view file(reinterpret_cast<const char*>(data), size);
    expect_ours([&] { fuzz_header(std::as_bytes(std::span(file))); });
    fuzz_tensors(file);
    return 0;
}
