#include "backend/cuda/tensor_map.h"

#include "backend/cuda/device.h"

namespace sluice::cuda {

namespace {

// The program is not linked with the driver's library, which there may be none of.
auto driver_encode() {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "asking for the driver's tensor maps");
    if (found != cudaDriverEntryPointSuccess) refuse("CUDA: the driver has no tensor maps; a newer one is needed");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

CUtensorMap tensor_map(const PlanesOfRows& numbers) {
    static const auto encode = driver_encode();
    const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(numbers.width), static_cast<cuuint64_t>(numbers.rows),
                                 static_cast<cuuint64_t>(numbers.planes)};
    const cuuint64_t strides[2] = {numbers.row_bytes, numbers.plane_bytes};
    const cuuint32_t box[3] = {64, static_cast<cuuint32_t>(numbers.box_rows), 1}, steps[3] = {1, 1, 1};
    CUtensorMap map{};
    const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(numbers.first), sizes,
                                   strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    check(result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "describing rows to the copy engine");
    return map;
}

}  // namespace sluice::cuda
