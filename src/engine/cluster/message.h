#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sluice {

// Values and arrays one after the other, in this machine's order of bytes, each at a multiple of 8.
class MessageWriter {
  public:
    explicit MessageWriter(std::vector<std::byte>& bytes) : bytes_(bytes) { bytes_.clear(); }

    template <typename Value>
    void put(const Value& value) {
        put_all(std::span(&value, 1));
    }
    template <typename Value>
    void put_all(std::span<const Value> values) {
        static_assert(std::is_trivially_copyable_v<Value>);
        const size_t at = grow(values.size_bytes());
        if (!values.empty()) std::memcpy(bytes_.data() + at, values.data(), values.size_bytes());
    }
    void put_text(std::string_view text) {
        put(text.size());
        put_all(std::span(text.data(), text.size()));
    }
    // Room for an array that is filled in afterwards, as bytes.
    std::span<std::byte> room(size_t bytes) {
        const size_t at = grow(bytes);
        return std::span(bytes_).subspan(at, bytes);
    }

  private:
    size_t grow(size_t bytes) {
        const size_t at = bytes_.size();
        bytes_.resize(at + (bytes + 7) / 8 * 8);
        return at;
    }

    std::vector<std::byte>& bytes_;
};

// Reads the same. Throws kIo where the message ends too early.
class MessageReader {
  public:
    explicit MessageReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <typename Value>
    Value take() {
        Value value;
        std::memcpy(&value, part(1, sizeof value).data(), sizeof value);
        return value;
    }
    template <typename Value>
    std::span<const Value> take_all(size_t count) {
        static_assert(std::is_trivially_copyable_v<Value> && alignof(Value) <= 8);
        return {reinterpret_cast<const Value*>(part(count, sizeof(Value)).data()), count};
    }
    std::string take_text() {
        const std::span<const char> text = take_all<char>(take<size_t>());
        return {text.begin(), text.end()};
    }

  private:
    std::span<const std::byte> part(size_t count, size_t size);

    std::span<const std::byte> bytes_;
};

}  // namespace sluice
