// check_operation: shapes, and that what is written is apart from the other fields.

#include "backend/checks.h"

namespace sluice {

namespace {

uint64_t last_byte(const Tensor& tensor) {
    const int64_t elements = (tensor.rows - 1) * tensor.row_stride + tensor.columns;
    return tensor.offset + static_cast<uint64_t>(elements) * dtype_bytes(tensor.dtype);
}

bool share_elements(const Tensor& a, const Tensor& b) {
    if (a.buffer != b.buffer || a.rows == 0 || b.rows == 0) return false;
    if (last_byte(a) <= b.offset || last_byte(b) <= a.offset) return false;
    if (a.row_stride != b.row_stride || a.rows == 1 || b.rows == 1) return true;
    // Columns of one matrix: apart when neither reaches the other inside a row.
    const uint64_t row = static_cast<uint64_t>(a.row_stride) * dtype_bytes(a.dtype);
    const uint64_t a_to_b = (b.offset + row - a.offset % row) % row;
    const uint64_t a_bytes = static_cast<uint64_t>(a.columns) * dtype_bytes(a.dtype);
    const uint64_t b_bytes = static_cast<uint64_t>(b.columns) * dtype_bytes(b.dtype);
    return a_to_b < a_bytes || row - a_to_b < b_bytes;
}

bool same_place(const Tensor& a, const Tensor& b) {
    return a.offset == b.offset && a.row_stride == b.row_stride && a.columns == b.columns;
}

// A tensor field; `list` names the field whose items hold it, if any.
struct TensorUse {
    const char* field;
    const char* list;
    const Tensor* tensor;
    Access access;

    std::string name() const { return list == nullptr ? field : fmt::format("{} of {}", field, list); }
};

template <typename Value>
void collect(const char* field, const char* list, const Value& value, Access access, std::vector<TensorUse>& uses) {
    if constexpr (std::is_same_v<Value, Tensor>) {
        uses.push_back({field, list, &value, access});
    } else if constexpr (is_list<Value>) {
        for (const auto& item : value) collect(field, field, item, access, uses);
    } else if constexpr (HasFields<Value>) {
        Value::fields(value, [&](const char* name, const auto& member, auto... own) {
            if constexpr (sizeof...(own) == 1) collect(name, list, member, own..., uses);
        });
    }
}

void check_apart(const OperationCheck& check, const TensorUse& written, const TensorUse& other) {
    if (!share_elements(*written.tensor, *other.tensor)) return;
    const bool in_place = other.access == Access::kReadInPlace;
    if (in_place && same_place(*written.tensor, *other.tensor)) return;
    check.refuse(written.name(), "shares memory with {}: {}", other.name(),
                 in_place ? "it must be the same tensor or apart from it" : "it must be apart from it");
}

}  // namespace

void check_operation(const Operation& operation) {
    static thread_local std::vector<TensorUse> uses;
    uses.clear();
    std::visit(
        [](const auto& op) {
            const OperationCheck check(op.kName);
            op.check_shapes(check);
            collect(op.kName, nullptr, op, Access::kRead, uses);
            for (size_t i = 0; i < uses.size(); ++i) {
                if (!writes(uses[i].access)) continue;
                for (size_t j = 0; j < uses.size(); ++j) {
                    if (j < i || !writes(uses[j].access)) check_apart(check, uses[i], uses[j]);
                }
            }
        },
        operation);
}

}  // namespace sluice
