#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

template <typename T>
std::vector<int64_t> widen(std::span<const std::byte> bytes) {
    std::vector<int64_t> values(bytes.size() / sizeof(T));
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<int64_t>(load_unaligned<T>(bytes.data() + i * sizeof(T)));
    }
    return values;
}

}  // namespace

SafetensorsReader SafetensorsReader::open(const std::filesystem::path& path) {
    SafetensorsReader reader;
    // Opened once: header and data are of one file, however often another one takes its name.
    File file = File::open(path);
    reader.header_ = read_safetensors_header(file);
    reader.file_ = MappedFile::of(std::move(file));
    for (size_t i = 0; i < reader.header_.tensors.size(); ++i) reader.index_[reader.header_.tensors[i].name] = i;
    return reader;
}

const SafetensorsEntry& SafetensorsReader::entry(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) fail(ErrorCode::kNotFound, "{}: no tensor {}", file_->label(), name);
    return header_.tensors[found->second];
}

bool SafetensorsReader::has(const std::string& name) const {
    return index_.contains(name);
}

std::span<const std::byte> SafetensorsReader::bytes(const std::string& name) const {
    const SafetensorsEntry& tensor = entry(name);
    if (tensor.offset + tensor.bytes > file_->bytes().size()) {
        fail(ErrorCode::kInvalidFile, "{}: became shorter while it was read", file_->label());
    }
    return file_->bytes().subspan(tensor.offset, tensor.bytes);
}

std::vector<float> SafetensorsReader::floats(const std::string& name) const {
    const SafetensorsEntry& tensor = entry(name);
    if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16) {
        fail(ErrorCode::kUnsupported, "{}: tensor {} is {}, but F32, BF16 or F16 belongs here", file_->label(), name,
             dtype_name(tensor.dtype));
    }
    const uint64_t count = tensor.bytes / dtype_bytes(tensor.dtype);
    std::vector<float> values(count);
    if (count == 0) return values;
    const WeightView view{.format = WeightFormat::floating(tensor.dtype),
                          .rows = 1,
                          .columns = static_cast<int64_t>(count),
                          .data = bytes(name).data()};
    decode_row(view, 0, values.data());
    file_->check_intact();
    return values;
}

std::vector<int64_t> SafetensorsReader::integers(const std::string& name) const {
    const SafetensorsEntry& tensor = entry(name);
    const auto read = [&]<typename T>(T) {
        const std::vector<int64_t> values = widen<T>(bytes(name));
        file_->check_intact();
        return values;
    };
    switch (tensor.dtype) {
        case DType::kI64:
            return read(int64_t{});
        case DType::kI32:
            return read(int32_t{});
        case DType::kI16:
            return read(int16_t{});
        case DType::kI8:
            return read(int8_t{});
        case DType::kU32:
            return read(uint32_t{});
        case DType::kU16:
            return read(uint16_t{});
        case DType::kU8:
        case DType::kBool:
            return read(uint8_t{});
        default:
            fail(ErrorCode::kUnsupported, "{}: tensor {} is {}, but integers of up to 64 signed bits belong here",
                 file_->label(), name, dtype_name(tensor.dtype));
    }
}

}  // namespace sluice
