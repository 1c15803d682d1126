// In place of cuda/ in a build without nvcc.

#include "backend/cuda_backend.h"

#include "base/error.h"
#include "sluice/cards.h"

namespace sluice {

std::vector<Card> cards() {
    return {};
}

bool built_with_cuda() {
    return false;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaBackendOptions&) {
    fail(ErrorCode::kUnsupported,
         "`device` cuda: this program was built without CUDA; build it where nvcc is, or use "
         "`device` cpu");
}

}  // namespace sluice
