#include "checkpoint/weight_resolver.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

constexpr int kWordBits = 32, kByteBits = 8;

std::string shape_text(const std::vector<int64_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

bool is_plain_float(DType dtype) {
    return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

WeightResolver::WeightResolver(const Published& table, const QuantizationConfig& quantization)
    : table_(table),
      quantization_(quantization),
      config_(table.layout == kGgufLayout ? "its metadata" : "config.json"),
      used_(table.tensors.size(), false) {}

ByteRange WeightResolver::use(int64_t tensor) {
    const auto index = static_cast<size_t>(tensor);
    used_[index] = true;
    const StoredTensor& stored = table_.tensors[index];
    return {.file = stored.file, .offset = stored.entry.offset, .bytes = stored.entry.bytes};
}

WeightSource WeightResolver::matrix(const std::string& name, const ModuleTensors& tensors,
                                    const std::vector<int64_t>& leading, int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight];
    const bool scaled = tensors[TensorPart::kScales] != kNoTensor;
    require_stored(name, weight);
    if (table_.tensors[static_cast<size_t>(weight)].codec != nullptr) return blocks(tensors, leading, columns);
    const DType dtype = entry(weight).dtype;
    if (dtype == DType::kF8E4M3) return fp8(tensors, leading, columns);
    if (dtype == DType::kI8 && tensors[TensorPart::kScaleInverse] != kNoTensor) return fp4(tensors, leading, columns);
    if (scaled && dtype == DType::kU8) {
        const bool e4m3 = entry(tensors[TensorPart::kScales]).dtype == DType::kF8E4M3;
        return e4m3 ? nvfp4(tensors, leading, columns) : mxfp4_blocks(tensors, leading, columns);
    }
    if (scaled && dtype == DType::kI32) return integers(tensors, leading, columns);
    if (scaled) return affine_or_micro(name, tensors, leading, columns);
    if (dtype == DType::kU32) {
        fail(ErrorCode::kInvalidFile, "{}: U32 as quantized weights are, but it has no .scales",
             table_.describe(static_cast<size_t>(weight)));
    }
    if (!is_plain_float(dtype)) refuse_dtype(weight, "F32, F16, BF16, F8_E4M3 and quantized U32");
    require_shape(weight, leading, columns, config_);
    return make_source(tensors, WeightFormat::floating(dtype), leading, columns, kNoTensor);
}

WeightSource WeightResolver::affine_or_micro(const std::string& name, const ModuleTensors& tensors,
                                             const std::vector<int64_t>& leading, int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight];
    const int64_t scales = tensors[TensorPart::kScales];
    const int64_t zero_points = tensors[TensorPart::kZeroPoints];
    const std::string module = name.substr(0, name.rfind(".weight"));
    const WeightFormat format = quantization_.module_format(module, entry(scales).dtype);
    const std::string stated = "config.json's " + format.describe();
    if (entry(weight).dtype != DType::kU32) refuse_dtype(weight, "U32, since it has .scales");
    if (format.has_zero_points() && !is_plain_float(entry(scales).dtype)) refuse_dtype(scales, "F32, F16 and BF16");
    if (!format.has_zero_points() && entry(scales).dtype != DType::kU8) refuse_dtype(scales, "U8");
    require_groups(weight, format, columns);
    require_shape(weight, leading, columns * format.bits / kWordBits, stated);
    require_shape(scales, leading, columns / format.group_size, stated);
    if (format.has_zero_points()) {
        if (zero_points == kNoTensor) {
            fail(ErrorCode::kNotFound, "{}: {} needs {}.biases, which is missing",
                 table_.describe(static_cast<size_t>(scales)), format.describe(), module);
        }
        if (entry(zero_points).dtype != format.dtype) refuse_dtype(zero_points, std::string(dtype_name(format.dtype)));
        require_shape(zero_points, leading, columns / format.group_size, stated);
    } else if (zero_points != kNoTensor) {
        fail(ErrorCode::kInvalidFile, "{}: {} has no zero points", table_.describe(static_cast<size_t>(zero_points)),
             format.describe());
    }
    return make_source(tensors, format, leading, columns, scales);
}

void WeightResolver::require_groups(int64_t weight, const WeightFormat& format, int64_t columns) const {
    if (columns % format.run_columns() == 0 && columns * format.bits % kWordBits == 0) return;
    fail(ErrorCode::kInvalidFile, "{}: {} does not divide its {} columns into whole groups",
         table_.describe(static_cast<size_t>(weight)), format.describe(), columns);
}

WeightSource WeightResolver::integers(const ModuleTensors& tensors, const std::vector<int64_t>& leading,
                                      int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight], scales = tensors[TensorPart::kScales];
    const int64_t zero_points = tensors[TensorPart::kZeroPoints];
    const std::string where = table_.describe(static_cast<size_t>(weight));
    const IntegerWeights codes = quantization_.integers(entry(weight).name);
    if (!is_plain_float(entry(scales).dtype)) refuse_dtype(scales, "F32, F16 and BF16");
    const bool symmetric = codes.form == MatrixForm::kSymmetric;
    // What a zero point stands for is more exact than a scale.
    const WeightFormat format =
        WeightFormat::affine(codes.bits, codes.group_size, symmetric ? entry(scales).dtype : DType::kF32);
    require_groups(weight, format, columns);
    const int64_t in_word = kWordBits / codes.bits, groups = columns / codes.group_size, rows = leading.back();
    if (leading.size() != 1 || (!symmetric && rows % in_word != 0)) {
        fail(ErrorCode::kUnsupported, "{}: {} in I32 is supported in matrices of whole words of {} rows, not in {}",
             where, format.describe(), in_word, shape_text(entry(weight).shape));
    }
    const std::string stated = "config.json's " + format.describe();
    const bool by_rows = symmetric || codes.form == MatrixForm::kAsymmetric;
    if (by_rows) {
        require_shape(weight, {rows}, columns / in_word, stated);
    } else if (codes.form == MatrixForm::kAwq) {
        require_shape(weight, {columns}, rows / in_word, stated);
    } else {
        require_shape(weight, {columns / in_word}, rows, stated);
    }
    require_shape(scales, {by_rows ? rows : groups}, by_rows ? groups : rows, stated);
    if (!symmetric) {
        if (zero_points == kNoTensor) fail(ErrorCode::kNotFound, "{}: its zero points are missing", where);
        if (entry(zero_points).dtype != DType::kI32) refuse_dtype(zero_points, "I32");
        const bool by_group = codes.form != MatrixForm::kAsymmetric;
        require_shape(zero_points, {by_group ? groups : rows / in_word}, by_group ? rows / in_word : groups, stated);
    } else if (zero_points != kNoTensor) {
        fail(ErrorCode::kInvalidFile, "{}: {} has no zero points", table_.describe(static_cast<size_t>(zero_points)),
             format.describe());
    }
    for (const TensorPart unread : {TensorPart::kShape, TensorPart::kOrder}) {
        if (tensors[unread] != kNoTensor) use(tensors[unread]);
    }
    if (!codes.order_field.empty()) require_groups_in_order(codes, tensors, columns);
    WeightSource source = make_source(tensors, format, leading, columns, scales);
    source.form = {codes.form, entry(scales).dtype};
    return source;
}

// Where the config allows another order, the tensor beside the codes may still say that there is none.
void WeightResolver::require_groups_in_order(const IntegerWeights& codes, const ModuleTensors& tensors,
                                             int64_t columns) {
    const int64_t order = tensors[TensorPart::kOrder];
    bool follow = order != kNoTensor && entry(order).dtype == DType::kI32;
    if (follow) {
        require_shape(order, {}, columns, config_);
        std::vector<int32_t> groups(static_cast<size_t>(columns));
        const ByteRange range = use(order);
        File::open(table_.files[range.file].path).read_at(range.offset, std::as_writable_bytes(std::span(groups)));
        for (int64_t i = 0; i < columns; ++i) follow = follow && groups[static_cast<size_t>(i)] == i / codes.group_size;
    }
    if (follow) return;
    fail(ErrorCode::kUnsupported,
         "{}: columns in the order of their activations (act-order), as {}'s {} has them, are not supported; a "
         "quantization without it would do",
         table_.describe(static_cast<size_t>(order != kNoTensor ? order : tensors[TensorPart::kWeight])), config_,
         codes.order_field);
}

WeightSource WeightResolver::nvfp4(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns) {
    constexpr int64_t kScaleColumns = 16;
    const int64_t weight = tensors[TensorPart::kWeight], scales = tensors[TensorPart::kScales];
    const int64_t divisor = tensors[TensorPart::kDivisor];
    const int64_t factor = divisor != kNoTensor ? divisor : tensors[TensorPart::kFactor];
    const std::string where = table_.describe(static_cast<size_t>(weight));
    const WeightFormat& format = kScaledNvfp4BlockCodec.standard;
    if (leading.size() != 1) {
        fail(ErrorCode::kUnsupported, "{}: NVFP4 is supported in matrices, not in {}", where,
             shape_text(entry(weight).shape));
    }
    if (factor == kNoTensor) {
        fail(ErrorCode::kNotFound, "{}: NVFP4 needs weight_global_scale or weight_scale_2 beside it", where);
    }
    require_groups(weight, format, columns);
    require_shape(weight, leading, columns / 2, "NVFP4");
    require_shape(scales, leading, columns / kScaleColumns, "NVFP4");
    const StoredTensor& whole = table_.tensors[static_cast<size_t>(factor)];
    if (whole.entry.dtype != DType::kF32 || whole.entry.bytes != sizeof(float)) refuse_dtype(factor, "one F32");
    WeightSource source = make_source(tensors, format, leading, columns, scales);
    source.zero_points = use(factor);
    source.form = {divisor != kNoTensor ? MatrixForm::kNvfp4Divided : MatrixForm::kNvfp4, DType::kF8E4M3};
    return source;
}

WeightSource WeightResolver::mxfp4_blocks(const ModuleTensors& tensors, const std::vector<int64_t>& leading,
                                          int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight];
    const int64_t scales = tensors[TensorPart::kScales];
    const WeightFormat format = quantization_.mxfp4_format(entry(weight).name);
    if (entry(scales).dtype != DType::kU8) refuse_dtype(scales, "U8");
    require_groups(weight, format, columns);
    const int64_t groups = columns / format.group_size;
    std::vector<int64_t> of_groups = leading;
    of_groups.push_back(groups);
    const std::string stated = "config.json's " + format.describe();
    if (entry(weight).shape.size() == leading.size() + 1) {
        require_shape(weight, leading, columns * format.bits / kByteBits, stated);
    } else {
        require_shape(weight, of_groups, format.group_size * format.bits / kByteBits, stated);
    }
    require_shape(scales, leading, groups, stated);
    return make_source(tensors, format, leading, columns, scales);
}

WeightSource WeightResolver::fp4(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight], scales = tensors[TensorPart::kScaleInverse];
    const WeightFormat& format = kMxfp4Codec.standard;
    if (entry(scales).dtype != DType::kF8E8M0) refuse_dtype(scales, "F8_E8M0, since its weight is I8");
    require_groups(weight, format, columns);
    require_shape(weight, leading, columns * format.bits / kByteBits, config_);
    require_shape(scales, leading, columns / format.group_size, config_);
    return make_source(tensors, format, leading, columns, scales);
}

WeightSource WeightResolver::blocks(const ModuleTensors& tensors, const std::vector<int64_t>& leading,
                                    int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight];
    const WeightFormat& format = table_.tensors[static_cast<size_t>(weight)].codec->standard;
    const int64_t scales = tensors[TensorPart::kScales];
    require_shape(weight, leading, columns, config_);
    if (columns % format.run_columns() != 0) {
        fail(ErrorCode::kInvalidFile, "{}: {} has blocks of {}, which do not divide its {} columns",
             table_.describe(static_cast<size_t>(weight)), format.describe(), format.run_columns(), columns);
    }
    if (format.has_scales()) require_factors(scales, leading);
    WeightSource source = make_source(tensors, format, leading, columns, scales);
    const uint64_t wanted = format.data_bytes(source.rows, columns);
    if (source.data.bytes != wanted) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes, but {} of {} needs {}",
             table_.describe(static_cast<size_t>(weight)), source.data.bytes, shape_text(entry(weight).shape),
             format.describe(), wanted);
    }
    return source;
}

// One for each of the matrices that lie above each other.
void WeightResolver::require_factors(int64_t scales, const std::vector<int64_t>& leading) const {
    const int64_t matrices = leading.size() > 1 ? leading.front() : 1;
    if (entry(scales).dtype != DType::kF32) refuse_dtype(scales, "F32");
    require_shape(scales, {}, matrices, "the matrix beside it");
}

std::optional<WeightFormat> WeightResolver::fp8_of_rows(int64_t scales, const std::vector<int64_t>& leading,
                                                        int64_t columns) const {
    const SafetensorsEntry& stored = entry(scales);
    const int64_t rows = leading.back();
    const auto count = static_cast<int64_t>(stored.bytes / dtype_bytes(stored.dtype));
    const bool of_row = count == rows && (stored.shape.size() == 1 || stored.shape.back() == 1);
    if (leading.size() != 1 || (!of_row && count != 1)) return std::nullopt;
    return WeightFormat::fp8_block(static_cast<int>(of_row ? 1 : rows), static_cast<int>(columns), stored.dtype);
}

WeightSource WeightResolver::fp8(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns) {
    const int64_t weight = tensors[TensorPart::kWeight], inverse = tensors[TensorPart::kScaleInverse];
    const int64_t scales = inverse != kNoTensor ? inverse : tensors[TensorPart::kScales];
    const std::string& name = entry(weight).name;
    require_shape(weight, leading, columns, config_);
    if (scales == kNoTensor) {
        fail(ErrorCode::kNotFound, "{}: F8_E4M3 without {}_scale_inv or {}_scale",
             table_.describe(static_cast<size_t>(weight)), name, name);
    }
    const auto of_rows = inverse == kNoTensor ? fp8_of_rows(scales, leading, columns) : std::nullopt;
    WeightFormat format = of_rows ? *of_rows : quantization_.fp8_format(name);
    format.dtype = entry(scales).dtype;
    if (!format.supported()) refuse_dtype(scales, "F32, BF16 and F8_E8M0");
    if (of_rows) return make_source(tensors, format, leading, columns, scales);
    const auto blocks = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
    std::vector<int64_t> scale_leading = leading;
    scale_leading.back() = blocks(leading.back(), format.group_rows);
    require_shape(scales, scale_leading, blocks(columns, format.group_size), "config.json's " + format.describe());
    return make_source(tensors, format, leading, columns, scales);
}

WeightSource WeightResolver::make_source(const ModuleTensors& tensors, const WeightFormat& format,
                                         const std::vector<int64_t>& leading, int64_t columns, int64_t scales) {
    WeightSource source;
    source.name = entry(tensors[TensorPart::kWeight]).name;
    source.spelled = table_.tensors[static_cast<size_t>(tensors[TensorPart::kWeight])].spelled();
    source.format = format;
    source.rows = std::accumulate(leading.begin(), leading.end(), int64_t{1}, std::multiplies<>());
    source.columns = columns;
    source.data = use(tensors[TensorPart::kWeight]);
    if (format.has_scales()) source.scales = use(scales);
    const int64_t zero_points = tensors[TensorPart::kZeroPoints];
    if (format.has_zero_points() && zero_points != kNoTensor) source.zero_points = use(zero_points);
    return source;
}

WeightSource WeightResolver::numbers(const std::string& name, const ModuleTensors& tensors,
                                     const std::vector<int64_t>& leading, int64_t columns) {
    const int64_t tensor = tensors[TensorPart::kWeight];
    require_stored(name, tensor);
    const DType dtype = entry(tensor).dtype;
    if (dtype != DType::kI64 && dtype != DType::kI32) refuse_dtype(tensor, "I64 and I32");
    require_shape(tensor, leading, columns, config_);
    return make_source(tensors, WeightFormat::floating(dtype), leading, columns, kNoTensor);
}

void WeightResolver::require_stored(const std::string& name, int64_t tensor) const {
    if (tensor != kNoTensor) return;
    std::string beside;
    if (!table_.passed_over.empty()) {
        beside =
            fmt::format("; {} stands beside the files that were read ({}): remove what does not belong to the model",
                        table_.passed_over.front(), table_.files.front().path.filename().string());
    }
    fail(ErrorCode::kNotFound, "{}: no tensor {}, which {} asks for{}", table_.source.string(), table_.spelled(name),
         config_, beside);
}

WeightSource WeightResolver::vector(const std::string& name, const ModuleTensors& tensors,
                                    const std::vector<std::vector<int64_t>>& shapes) {
    const int64_t tensor = tensors[TensorPart::kWeight];
    require_stored(name, tensor);
    const SafetensorsEntry& stored = entry(tensor);
    if (!is_plain_float(stored.dtype)) refuse_dtype(tensor, "F32, F16 and BF16");
    if (std::find(shapes.begin(), shapes.end(), stored.shape) == shapes.end()) {
        fail(ErrorCode::kInvalidFile, "{}: its shape is {}, but {} asks for {}",
             table_.describe(static_cast<size_t>(tensor)), shape_text(stored.shape), config_,
             shape_text(shapes.front()));
    }
    const auto count = static_cast<int64_t>(stored.bytes / dtype_bytes(stored.dtype));
    WeightSource source;
    source.name = stored.name;
    source.spelled = table_.tensors[static_cast<size_t>(tensor)].spelled();
    source.format = WeightFormat::floating(stored.dtype);
    source.rows = 1;
    source.columns = count;
    source.data = use(tensor);
    return source;
}

void WeightResolver::require_shape(int64_t tensor, std::vector<int64_t> leading, int64_t columns,
                                   const std::string& why) const {
    leading.push_back(columns);
    if (entry(tensor).shape == leading) return;
    fail(ErrorCode::kInvalidFile, "{}: its shape is {}, but {} asks for {}",
         table_.describe(static_cast<size_t>(tensor)), shape_text(entry(tensor).shape), why, shape_text(leading));
}

void WeightResolver::refuse_dtype(int64_t tensor, const std::string& supported) const {
    fail(ErrorCode::kUnsupported, "{}: {} is not supported here, only {}", table_.describe(static_cast<size_t>(tensor)),
         dtype_name(entry(tensor).dtype), supported);
}

}  // namespace sluice
