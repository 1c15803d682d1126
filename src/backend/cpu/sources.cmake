# The CPU backend. Kernels are compiled once per instruction set; which one runs is decided by the processor.
set(CPU_SOURCES
  cpu/cpu_backend.cpp
  cpu/cpu_features.cpp
  cpu/kernels.cpp
  cpu/scratch.cpp
  cpu/linear.cpp
  cpu/linear_bf16.cpp
  cpu/linear_blocks.cpp
  cpu/linear_codes.cpp
  cpu/linear_float.cpp
  cpu/linear_int8.cpp
  cpu/linear_ops.cpp
  cpu/row_ops.cpp
  cpu/route_ops.cpp
  cpu/activation.cpp
  cpu/mlp.cpp
  cpu/attention_ops.cpp
  cpu/expanded_attention.cpp
  cpu/gated_stream_ops.cpp
  cpu/recurrent_ops.cpp
  cpu/pooling_ops.cpp
  cpu/selection_ops.cpp
  cpu/shared_key_ops.cpp
  cpu/stream_ops.cpp
  cpu/isa/kernels_scalar.cpp)
set_source_files_properties(cpu/isa/kernels_scalar.cpp PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)

# One file for one instruction set. Precompiled headers were made without its options.
function(sluice_kernels source)
  set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON
                              SKIP_UNITY_BUILD_INCLUSION ON COMPILE_OPTIONS "${ARGN}")
  set(CPU_SOURCES ${CPU_SOURCES} ${source} PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(avx2 -mavx2 -mfma -mf16c -mbmi2)
  # GCC 12 takes the deliberately undefined operands inside its own AVX-512 intrinsics for uninitialized variables.
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mbmi2 -Wno-uninitialized)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND avx512 -Wno-maybe-uninitialized)
  endif()
  set(vbmi ${avx512} -mavx512vnni -mavx512vbmi)
  sluice_kernels(cpu/isa/kernels_avx2.cpp ${avx2})
  if(SLUICE_ALL_CPU_KERNELS)
    sluice_kernels(cpu/isa/kernels_avxvnni.cpp ${avx2} -mavxvnni)
    sluice_kernels(cpu/isa/kernels_avx512.cpp ${avx512})
    sluice_kernels(cpu/isa/kernels_avx512vnni.cpp ${avx512} -mavx512vnni)
  endif()
  sluice_kernels(cpu/isa/kernels_avx512vbmi.cpp ${vbmi})
  set(bf16 ${avx512} -mavx512bf16)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 17)
    # Clang 16 ends in a fault of its own when it optimizes this file.
    list(APPEND bf16 -O0)
  endif()
  sluice_kernels(cpu/isa/attention_avx512bf16.cpp ${bf16})
  sluice_kernels(cpu/isa/linear_avx512bf16.cpp ${avx512} -mavx512vbmi -mavx512bf16)
  sluice_kernels(cpu/isa/linear_amx.cpp ${vbmi} -mamx-tile -mamx-int8)
  sluice_kernels(cpu/isa/linear_amx_blocks.cpp ${vbmi} -mamx-tile -mamx-int8)
  sluice_kernels(cpu/isa/linear_amxbf16.cpp ${avx512} -mavx512vbmi -mavx512bf16 -mamx-tile -mamx-bf16)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  sluice_kernels(cpu/isa/kernels_neon.cpp -march=armv8.2-a+dotprod)
endif()
