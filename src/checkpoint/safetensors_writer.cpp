#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/safetensors.h"

namespace sluice {

namespace {

std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

uint64_t declared_bytes(const SafetensorsWriter::Declaration& tensor) {
    uint64_t bytes = dtype_bytes(tensor.dtype);
    for (const int64_t size : tensor.shape) {
        if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes)) {
            fail(ErrorCode::kUsage, "tensor {}: a shape of {} is not possible", tensor.name, size);
        }
    }
    return bytes;
}

std::string header_text(const std::vector<SafetensorsWriter::Declaration>& tensors,
                        const std::map<std::string, std::string>& metadata) {
    std::string text = "{";
    const auto separate = [&text] {
        if (text.size() > 1) text += ',';
    };
    if (!metadata.empty()) {
        text += "\"__metadata__\":{";
        bool first = true;
        for (const auto& [key, value] : metadata) {
            text += fmt::format("{}{}:{}", first ? "" : ",", quoted(key), quoted(value));
            first = false;
        }
        text += '}';
    }
    uint64_t offset = 0;
    for (const SafetensorsWriter::Declaration& tensor : tensors) {
        const uint64_t end = offset + declared_bytes(tensor);
        separate();
        text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", quoted(tensor.name),
                            dtype_name(tensor.dtype), nlohmann::json(tensor.shape).dump(), offset, end);
        offset = end;
    }
    return text + '}';
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declaration>& tensors,
                                     const std::map<std::string, std::string>& metadata, uint64_t data_alignment,
                                     Privacy privacy)
    : file_(path, privacy), tensors_(tensors), metadata_(metadata) {
    std::string text = header_text(tensors, metadata);
    layout_.data_offset = round_up(kSafetensorsLengthBytes + text.size(), data_alignment);
    text.resize(layout_.data_offset - kSafetensorsLengthBytes, ' ');
    std::array<std::byte, kSafetensorsLengthBytes> length{};
    for (size_t i = 0; i < kSafetensorsLengthBytes; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i));
    file_.append(length);
    file_.append(std::as_bytes(std::span(text)));

    uint64_t bytes = 0;
    for (const Declaration& tensor : tensors) bytes += declared_bytes(tensor);
    // What has just been laid out is read back, so that a file is refused here exactly when a reader would refuse it.
    layout_ = parse_safetensors_header(text, layout_.data_offset, bytes, path.string());
    for (size_t i = 0; i < layout_.tensors.size(); ++i) index_[layout_.tensors[i].name] = i;
    missing_bytes_ = bytes;
}

void SafetensorsWriter::write(const std::string& name, std::span<const std::byte> bytes, uint64_t offset_in_tensor) {
    const auto found = index_.find(name);
    if (found == index_.end()) fail(ErrorCode::kUsage, "tensor {} was not declared", name);
    const SafetensorsEntry& tensor = layout_.tensors[found->second];
    if (offset_in_tensor > tensor.bytes || bytes.size() > tensor.bytes - offset_in_tensor) {
        fail(ErrorCode::kUsage, "tensor {} has {} bytes: {} at offset {} do not fit", name, tensor.bytes, bytes.size(),
             offset_in_tensor);
    }
    file_.write_at(tensor.offset + offset_in_tensor, bytes);
    missing_bytes_ -= std::min<uint64_t>(missing_bytes_, bytes.size());
}

void SafetensorsWriter::leave_hole(const std::string& name) {
    const SafetensorsEntry& tensor = layout_.tensors.at(index_.at(name));
    if (tensor.bytes == 0) return;
    const std::byte last{};
    file_.write_at(tensor.offset + tensor.bytes - 1, {&last, 1});
    missing_bytes_ -= std::min<uint64_t>(missing_bytes_, tensor.bytes);
}

void SafetensorsWriter::set_metadata(const std::string& key, const std::string& value) {
    const auto found = metadata_.find(key);
    if (found == metadata_.end() || found->second.size() != value.size()) {
        fail(ErrorCode::kUsage, "metadata {} was not declared with a value of {} bytes", key, value.size());
    }
    found->second = value;
    metadata_changed_ = true;
}

void SafetensorsWriter::commit() {
    if (missing_bytes_ != 0) {
        fail(ErrorCode::kUsage, "{} bytes of the declared tensors were not written", missing_bytes_);
    }
    if (metadata_changed_) {
        std::string text = header_text(tensors_, metadata_);
        if (kSafetensorsLengthBytes + text.size() > layout_.data_offset) {
            fail(ErrorCode::kUsage, "the changed metadata is longer than what it replaces");
        }
        text.resize(layout_.data_offset - kSafetensorsLengthBytes, ' ');
        file_.write_at(kSafetensorsLengthBytes, std::as_bytes(std::span(text)));
    }
    file_.commit();
}

}  // namespace sluice
