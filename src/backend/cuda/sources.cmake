# The backend of NVIDIA's cards, or its stubs.

if(SLUICE_CUDA)
  set(CUDA_SOURCES
    cuda/codecs.cpp cuda/cuda_backend.cpp cuda/device.cpp cuda/device_pages.cpp cuda/fusion.cpp cuda/lanes.cpp
    cuda/linear.cpp cuda/matrix.cpp cuda/memory.cpp cuda/recording.cpp cuda/tensor_map.cpp cuda/touched.cpp
    cuda/affine_rows.cu cuda/argmax.cu cuda/attention.cu cuda/attention_decode.cu cuda/attention_prefill.cu
    cuda/codecs_affine.cu cuda/codecs_blocks.cu cuda/codecs_float.cu cuda/codecs_grids.cu cuda/delta_chunks.cu
    cuda/delta_rule.cu cuda/delta_terms.cu cuda/draw.cu cuda/fetch_experts.cu cuda/few_words.cu cuda/float_matrix.cu
    cuda/latent.cu cuda/latent_expanded.cu cuda/latent_tiles.cu cuda/matrix_general.cu cuda/matrix_hopper.cu
    cuda/matrix_rows.cu cuda/recurrent.cu cuda/routed.cu cuda/routing.cu cuda/rows.cu cuda/rows_experts.cu cuda/scan.cu
    cuda/selection.cu cuda/shared_keys.cu cuda/step_experts.cu cuda/step_heads.cu cuda/step_products.cu cuda/streams.cu)
  set(CUDA_LIBRARIES ${SLUICE_CUDA_LIBRARIES})
  include_directories(SYSTEM ${CUDAToolkit_INCLUDE_DIRS})
else()
  set(CUDA_SOURCES no_cuda/cuda_backend.cpp)
  set(CUDA_LIBRARIES "")
endif()
