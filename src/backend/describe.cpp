#include "backend/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>

#include "tensor/kv_format.h"

namespace sluice {

std::string operation_label(const Operation& operation) {
    return std::visit(
        [](const auto& op) {
            std::string label = op.kName;
            std::decay_t<decltype(op)>::fields(op, [&](const char* name, const auto& member, auto...) {
                if constexpr (std::is_same_v<std::decay_t<decltype(member)>, Weight>) {
                    if (std::string_view(name) == "weight") {
                        label += fmt::format(" {} x {}", member.rows, member.columns);
                    }
                }
            });
            return label;
        },
        operation);
}

std::string_view name_of(RouterScore score) {
    switch (score) {
        case RouterScore::kSoftmax:
            return "softmax";
        case RouterScore::kSigmoid:
            return "sigmoid";
        case RouterScore::kSqrtSoftplus:
            return "sqrt-softplus";
    }
    return "unknown";
}

std::string_view name_of(ActivationKind kind) {
    switch (kind) {
        case ActivationKind::kSilu:
            return "silu";
        case ActivationKind::kGeluTanh:
            return "gelu-tanh";
        case ActivationKind::kSquaredRelu:
            return "squared-relu";
        case ActivationKind::kClampedSwiglu:
            return "clamped-swiglu";
        case ActivationKind::kCutSilu:
            return "cut-silu";
    }
    return "unknown";
}

class OperationPrinter::Writer {
  public:
    explicit Writer(std::vector<BufferPtr>& buffers) : buffers_(buffers) {}

    template <typename Struct>
    void fields(const Struct& value) {
        text_ += '(';
        bool first = true;
        Struct::fields(value, [&](const char* name, const auto& member, auto...) {
            append("{}{}: ", std::exchange(first, false) ? "" : ", ", name);
            write(member);
        });
        text_ += ')';
    }

    std::string take() { return std::move(text_); }
    template <typename... Args>
    void append(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    }

  private:
    void write(const Tensor& tensor) {
        append("{} [{}, {}] at ", dtype_name(tensor.dtype), tensor.rows, tensor.columns);
        write(tensor.buffer);
        append("+{} by {}", tensor.offset, tensor.row_stride);
    }
    void write(const Weight& weight) {
        append("{} [{}, {}] at ", weight.format.describe(), weight.rows, weight.columns);
        write(weight.data.buffer);
        append("+{}", weight.data.offset);
    }
    void write(const WeightPart& part) {
        write(part.buffer);
        append("+{}", part.offset);
    }
    void write(const BufferPtr& buffer) {
        if (buffer == nullptr) {
            text_ += "nothing";
            return;
        }
        const auto at = std::ranges::find(buffers_, buffer);
        append("#{}", at - buffers_.begin());
        if (at == buffers_.end()) buffers_.push_back(buffer);
    }
    void write(KvFormat format) { text_ += kv_format_name(format); }

    template <typename Value>
    void write(const Value& value) {
        if constexpr (is_list<Value>) {
            text_ += '[';
            for (size_t i = 0; i < value.size(); ++i) {
                if (i > 0) text_ += ", ";
                write(value[i]);
            }
            text_ += ']';
        } else if constexpr (HasFields<Value>) {
            fields(value);
        } else if constexpr (std::is_enum_v<Value>) {
            text_ += name_of(value);
        } else {
            append("{}", value);
        }
    }

    std::vector<BufferPtr>& buffers_;
    std::string text_;
};

std::string OperationPrinter::describe(const Operation& operation) {
    Writer writer(buffers_);
    std::visit(
        [&](const auto& op) {
            writer.append("{}", op.kName);
            writer.fields(op);
        },
        operation);
    return writer.take();
}

}  // namespace sluice
