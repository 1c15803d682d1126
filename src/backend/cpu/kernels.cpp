#include "backend/cpu/kernels.h"

#include <algorithm>

#include "base/error.h"

namespace sluice {

const CodecKernels& KernelTable::of(const WeightFormat& format) const {
    const auto found = std::ranges::find(codecs, format.codec, &CodecKernels::codec);
    if (found == codecs.end()) fail(ErrorCode::kUnsupported, "the CPU has no kernels for {}", format.describe());
    return *found;
}

}  // namespace sluice
