#include "sluice/float_tensors.h"

#include <functional>
#include <numeric>
#include <span>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace sluice {

void write_float_tensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
    std::vector<SafetensorsWriter::Declaration> declarations;
    declarations.reserve(tensors.size());
    for (const NamedTensor& tensor : tensors) {
        const int64_t count =
            std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<int64_t>());
        if (count < 0 || static_cast<uint64_t>(count) != tensor.values.size()) {
            fail(ErrorCode::kUsage, "{}: tensor {} has {} values and a shape that holds {}", path.string(), tensor.name,
                 tensor.values.size(), count);
        }
        declarations.push_back({tensor.name, DType::kF32, tensor.shape});
    }
    SafetensorsWriter writer(path, declarations);
    for (const NamedTensor& tensor : tensors) writer.write(tensor.name, std::as_bytes(std::span(tensor.values)));
    writer.commit();
}

}  // namespace sluice
