#pragma once

// GGUF files of a few kilobytes, and broken ones.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "gguf/gguf_value.h"

namespace sluice::testing {

// The bytes of a GGUF file, put together piece by piece. Nothing is checked: tests write what is wrong, too.
class GgufWriter {
  public:
    struct Tensor {
        std::string name;
        std::vector<uint64_t> sizes;  // the contiguous one first
        uint32_t type = 0;
        std::string data;
        int64_t offset = -1;  // in the data area; negative: behind the one before
    };

    uint32_t version = 3;
    uint64_t alignment = 32;
    int64_t tensor_count = -1;  // as the header says; negative: as many as there are
    int64_t pair_count = -1;
    std::vector<Tensor> tensors;

    // A scalar of the type that the format has for T.
    template <typename T>
    void add(std::string_view key, T value) {
        begin(key, type_of<T>());
        put(pairs_, value);
    }
    void add(std::string_view key, std::string_view text) {
        begin(key, GgufType::kString);
        put_text(pairs_, text);
    }
    void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
    void add(std::string_view key, const std::string& text) { add(key, std::string_view(text)); }
    template <typename T>
    void add_array(std::string_view key, const std::vector<T>& values) {
        begin_array(key, type_of<T>(), values.size());
        for (const T value : values) put(pairs_, value);
    }
    void add_array(std::string_view key, const std::vector<std::string>& texts) {
        begin_array(key, GgufType::kString, texts.size());
        for (const std::string& text : texts) put_text(pairs_, text);
    }
    void add_flags(std::string_view key, const std::vector<bool>& flags) {
        begin_array(key, GgufType::kBool, flags.size());
        for (const bool flag : flags) put(pairs_, static_cast<uint8_t>(flag));
    }
    // A pair as it shall stand in the file.
    void add_raw(std::string_view key, uint32_t type, std::string_view bytes) {
        put_text(pairs_, key);
        put(pairs_, type);
        pairs_ += bytes;
        ++pairs_count_;
    }

    std::string bytes() const {
        std::string file = "GGUF";
        put(file, version);
        put(file, tensor_count < 0 ? static_cast<uint64_t>(tensors.size()) : static_cast<uint64_t>(tensor_count));
        put(file, pair_count < 0 ? pairs_count_ : static_cast<uint64_t>(pair_count));
        file += pairs_;
        std::string data;
        for (const Tensor& tensor : tensors) {
            put_text(file, tensor.name);
            put(file, static_cast<uint32_t>(tensor.sizes.size()));
            for (const uint64_t size : tensor.sizes) put(file, size);
            put(file, tensor.type);
            put(file, tensor.offset < 0 ? static_cast<uint64_t>(data.size()) : static_cast<uint64_t>(tensor.offset));
            data += tensor.data;
            pad(data);
        }
        if (!data.empty()) pad(file);
        return file + data;
    }

    void write(const std::filesystem::path& path) const { write_text_file(path, bytes()); }

  private:
    template <typename T>
    static constexpr GgufType type_of() {
        if constexpr (std::is_same_v<T, bool>) return GgufType::kBool;
        if constexpr (std::is_same_v<T, float>) return GgufType::kF32;
        if constexpr (std::is_same_v<T, double>) return GgufType::kF64;
        if constexpr (std::is_same_v<T, uint8_t>) return GgufType::kU8;
        if constexpr (std::is_same_v<T, uint16_t>) return GgufType::kU16;
        if constexpr (std::is_same_v<T, int32_t>) return GgufType::kI32;
        if constexpr (std::is_same_v<T, uint64_t>) return GgufType::kU64;
        if constexpr (std::is_same_v<T, int64_t>) return GgufType::kI64;
        return GgufType::kU32;
    }
    template <typename T>
    static void put(std::string& out, T value) {
        char raw[sizeof value];
        std::memcpy(raw, &value, sizeof value);
        out.append(raw, sizeof value);
    }
    static void put_text(std::string& out, std::string_view text) {
        put(out, static_cast<uint64_t>(text.size()));
        out += text;
    }
    void begin(std::string_view key, GgufType type) {
        put_text(pairs_, key);
        put(pairs_, static_cast<uint32_t>(type));
        ++pairs_count_;
    }
    void begin_array(std::string_view key, GgufType type, size_t count) {
        begin(key, GgufType::kArray);
        put(pairs_, static_cast<uint32_t>(type));
        put(pairs_, static_cast<uint64_t>(count));
    }
    void pad(std::string& out) const { out.resize((out.size() + alignment - 1) / alignment * alignment); }

    std::string pairs_;
    uint64_t pairs_count_ = 0;
};

}  // namespace sluice::testing
