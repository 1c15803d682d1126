// Hostile safetensors headers, config.json files and metadata of the packed layout.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/model_config.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_names.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

// Runs what may throw one of ours, whose message is one line that names the file.
template <typename Action>
void expect_ours(Action&& action) {
    try {
        action();
    } catch (const sluice::Error& error) {
        const std::string_view message = error.what();
        require(message.find('\n') == std::string_view::npos);
        require(message.find("fuzz") != std::string_view::npos);
    }
}

// Two bytes say how much data follows the header.
void fuzz_header(std::string_view data) {
    if (data.size() < 2) return;
    const uint64_t data_bytes =
        static_cast<unsigned char>(data[0]) | static_cast<uint64_t>(static_cast<unsigned char>(data[1])) << 8;
    expect_ours([&] {
        const auto header = sluice::parse_safetensors_header(data.substr(2), 1000, data_bytes, "fuzz");
        uint64_t position = 1000;
        for (const sluice::SafetensorsEntry& tensor : header.tensors) {
            require(tensor.offset == position);
            uint64_t bytes = sluice::dtype_bytes(tensor.dtype);
            for (const int64_t size : tensor.shape) bytes *= static_cast<uint64_t>(size);
            require(bytes == tensor.bytes);
            position += bytes;
            for (const sluice::Architecture* architecture : sluice::architectures()) {
                sluice::TensorNames(*architecture).parse(tensor.name);
            }
        }
        require(position == 1000 + data_bytes);
    });
}

void fuzz_config(std::string_view data) {
    expect_ours([&] {
        const sluice::ModelConfig config = sluice::parse_model_config(data, "fuzz");
        require(!config.layers.empty() && config.hidden_size > 0 && config.vocabulary > 0);
        for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
            const sluice::MixtureConfig* mixture = config.mixture_of(layer);
            if (mixture == nullptr) continue;
            require(mixture->experts_per_token <= mixture->experts);
            require(mixture->experts % mixture->routing.groups == 0);
        }
        if (const auto* attention = sluice::first_block<sluice::GroupedAttentionConfig>(config)) {
            require(attention->heads % attention->kv_heads == 0 && attention->rotary.dims % 2 == 0);
        }
        if (const auto* attention = sluice::first_block<sluice::LatentAttentionConfig>(config)) {
            require(attention->rotary.dims % 2 == 0);
        }
    });
    expect_ours([&] {
        const auto quantization = sluice::QuantizationConfig::parse(data, "fuzz");
        require(quantization.module_format("model.layers.0.mlp.gate", sluice::DType::kBF16).supported());
    });
}

void fuzz_packed(std::string_view data) {
    expect_ours([&] {
        const sluice::ExpertLayout layout = sluice::read_packed_format(data, 256, 128, "fuzz");
        require(layout.record_bytes % 4096 == 0 && layout.down.data < layout.record_bytes);
        const std::string text = sluice::packed_format_text(layout);
        require(sluice::read_packed_format(text, 256, 128, "fuzz").record_bytes == layout.record_bytes);
    });
    expect_ours([&] {
        const size_t count = (data.size() + 1) / 17;
        const auto checksums = sluice::read_packed_checksums(data, count, "fuzz");
        require(sluice::packed_checksums_text(checksums).size() == data.size());
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0]) {
        case 'h':
            fuzz_header(rest);
            break;
        case 'p':
            fuzz_packed(rest);
            break;
        default:  // a file as it is, so that real ones serve as a corpus
            fuzz_config(std::string_view(reinterpret_cast<const char*>(data), size));
    }
    return 0;
}
