#pragma once

// The backend of NVIDIA's cards, and sluice/cards.h. A build without nvcc has both as stubs that find no card
// (no_cuda/).

#include <memory>

#include "backend/backend.h"

namespace sluice {

struct CudaBackendOptions {
    int device = 0;
    bool exact = false;  // F32 throughout; otherwise BF16 in front of tensor cores
};

// Throws kUnsupported, saying why, where there is no such device.
std::unique_ptr<Backend> make_cuda_backend(const CudaBackendOptions& options);

}  // namespace sluice
