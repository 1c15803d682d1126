#include "backend/cpu/cpu_backend.h"

#include <fmt/core.h>

#include "backend/cpu/cpu_features.h"

namespace sluice {

CpuBackend::CpuBackend(const CpuBackendOptions& options)
    : kernels_(select_kernels(options.instruction_set)),
      exact_(options.exact),
      pool_(options.threads, options.pin_threads) {}

std::string CpuBackend::name() const {
    return fmt::format("cpu ({}{})", kernels_.name, exact_ ? ", exact" : "");
}

bool CpuBackend::reads_tiles(const WeightFormat& format) const {
    if (exact_ || !format.tiles()) return false;
    const LinearKernel& kernel = *fastest_layout(kernels_, format).kernel;
    return kernel.reads_tiles != nullptr && kernel.reads_tiles(kernels_, format);
}

std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options) {
    return std::make_unique<CpuBackend>(options);
}

}  // namespace sluice
