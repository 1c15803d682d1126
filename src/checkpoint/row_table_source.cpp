#include "checkpoint/row_table_source.h"

#include <algorithm>

#include "base/error.h"

namespace sluice {

namespace {

class RowTableResolver {
  public:
    RowTableResolver(WeightResolver& resolver, const RowTableTensors& tensors, const std::string& name, int64_t columns)
        : resolver_(resolver), tensors_(tensors), name_(name), columns_(columns) {}

    RowTableSource resolve(int64_t rows) {
        if (tensors_.parts.empty()) {
            add(tensors_.whole, name_ + ".weight");
        }
        int expected = 0;
        for (const auto& [number, part] : tensors_.parts) {
            if (number != expected++) fail_missing(expected - 1);
            add(part, fmt::format("{}.shard_{}.weight", name_, number));
        }
        if (table_.rows() < rows) {
            fail(ErrorCode::kInvalidFile, "{}: {} has {} rows, but config.json's n-grams choose among {}",
                 resolver_.table().source.string(), name_, table_.rows(), rows);
        }
        return std::move(table_);
    }

  private:
    [[noreturn]] void fail_missing(int number) const {
        fail(ErrorCode::kNotFound, "{}: no tensor {}.shard_{}.weight, but later ones exist",
             resolver_.table().source.string(), name_, number);
    }

    std::string describe(int64_t tensor) const { return resolver_.table().describe(static_cast<size_t>(tensor)); }

    void add(const ModuleTensors& part, const std::string& name) {
        const int64_t weight = part[TensorPart::kWeight];
        if (weight == kNoTensor) {
            fail(ErrorCode::kNotFound, "{}: no tensor {}, which config.json asks for",
                 resolver_.table().source.string(), name);
        }
        const SafetensorsEntry& entry = resolver_.entry(weight);
        if (entry.shape.size() != 2 || entry.shape.front() < 1) {
            fail(ErrorCode::kInvalidFile, "{}: a part of a table is a matrix", describe(weight));
        }
        const int64_t rows = entry.shape.front();
        const WeightSource source =
            entry.dtype == DType::kF8E4M3 ? fp8(part, rows) : resolver_.matrix(entry.name, part, {rows}, columns_);
        check_rows_apart(source, weight);
        table_.first_rows.push_back(table_.parts.empty() ? 0 : table_.rows());
        table_.parts.push_back(source);
    }

    // A row is decoded by itself.
    void check_rows_apart(const WeightSource& source, int64_t tensor) const {
        if (!source.form.as_format() || source.format.group_rows != 1) {
            fail(ErrorCode::kUnsupported, "{}: {} is not supported in a table that is read row by row",
                 describe(tensor), source.format.describe());
        }
        if (table_.parts.empty() || table_.format() == source.format) return;
        fail(ErrorCode::kUnsupported, "{}: is {}, but the first part of its table is {}", describe(tensor),
             source.format.describe(), table_.format().describe());
    }

    static int64_t scale_of(const ModuleTensors& module) {
        const int64_t inverse = module[TensorPart::kScaleInverse];
        return inverse != kNoTensor ? inverse : module[TensorPart::kScales];
    }

    // With a scale for each row of the part, or one beside the table for all of its rows.
    WeightSource fp8(const ModuleTensors& part, int64_t rows) {
        const int64_t weight = part[TensorPart::kWeight];
        const SafetensorsEntry& entry = resolver_.entry(weight);
        const bool own = scale_of(part) != kNoTensor;
        const int64_t scales = own ? scale_of(part) : scale_of(tensors_.whole);
        if (scales == kNoTensor) {
            fail(ErrorCode::kNotFound, "{}: F8_E4M3 without {}.weight_scale", describe(weight), name_);
        }
        const SafetensorsEntry& factors = resolver_.entry(scales);
        WeightSource source;
        source.name = entry.name;
        source.spelled = resolver_.table().tensors[static_cast<size_t>(weight)].spelled();
        source.format = WeightFormat::fp8_block(1, static_cast<int>(columns_), factors.dtype);
        source.rows = rows;
        source.columns = columns_;
        if (entry.shape.back() != columns_) {
            fail(ErrorCode::kInvalidFile, "{}: rows of {} values, but config.json asks for {}", describe(weight),
                 entry.shape.back(), columns_);
        }
        if (!source.format.supported()) {
            fail(ErrorCode::kUnsupported, "{}: {} is not supported here, only F32 and BF16", describe(scales),
                 dtype_name(factors.dtype));
        }
        const auto count = static_cast<int64_t>(factors.bytes / dtype_bytes(factors.dtype));
        if (count != (own ? rows : 1)) {
            fail(ErrorCode::kInvalidFile, "{}: {} scales for {}", describe(scales), count,
                 own ? fmt::format("{} rows", rows) : "a table that has one");
        }
        source.data = resolver_.use(weight);
        (own ? source.scales : table_.common_scale) = resolver_.use(scales);
        return source;
    }

    WeightResolver& resolver_;
    const RowTableTensors& tensors_;
    const std::string& name_;
    int64_t columns_;
    RowTableSource table_;
};

}  // namespace

uint64_t RowTableSource::bytes() const {
    uint64_t sum = common_scale.bytes;
    for (const WeightSource& part : parts) sum += part.data.bytes + part.scales.bytes + part.zero_points.bytes;
    return sum;
}

uint64_t RowTableSource::row_bytes() const {
    uint64_t sum = 0;
    for (const ByteRange& part : row(0)) sum += part.bytes;
    return sum;
}

std::array<ByteRange, 3> RowTableSource::row(int64_t row) const {
    const auto after = std::ranges::upper_bound(first_rows, row);
    const auto index = static_cast<size_t>(after - first_rows.begin()) - 1;
    const WeightSource& part = parts[index];
    const auto number = static_cast<uint64_t>(row - first_rows[index]);
    const auto of_row = [&](const ByteRange& range, uint64_t bytes) {
        if (range.bytes == 0) return ByteRange{};
        return ByteRange{.file = range.file, .offset = range.offset + number * bytes, .bytes = bytes};
    };
    return {of_row(part.data, part.format.data_row_bytes(part.columns)),
            of_row(part.scales, part.format.scale_row_bytes(part.columns)),
            of_row(part.zero_points, part.format.zero_point_row_bytes(part.columns))};
}

RowTableSource resolve_row_table(WeightResolver& resolver, const RowTableTensors& tensors, const std::string& name,
                                 int64_t rows, int64_t columns) {
    return RowTableResolver(resolver, tensors, name, columns).resolve(rows);
}

}  // namespace sluice
