# The CPU backend. Kernels are compiled once per instruction set; which one runs is decided by the processor.
set(CPU_SOURCES
  cpu/cpu_backend.cpp
  cpu/cpu_features.cpp
  cpu/scratch.cpp
  cpu/linear.cpp
  cpu/linear_ops.cpp
  cpu/row_ops.cpp
  cpu/route_ops.cpp
  cpu/mlp.cpp
  cpu/attention_ops.cpp
  cpu/expanded_attention.cpp
  cpu/recurrent_ops.cpp
  cpu/isa/kernels_scalar.cpp)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CPU_AVX2 -mavx2 -mfma -mf16c -mbmi2)
  # GCC 12 takes the deliberately undefined operands inside its own AVX-512 intrinsics for uninitialized variables.
  set(CPU_AVX512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mbmi2 -Wno-uninitialized)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND CPU_AVX512 -Wno-maybe-uninitialized)
  endif()
  list(APPEND CPU_SOURCES
    cpu/isa/kernels_avx2.cpp
    cpu/isa/kernels_avxvnni.cpp
    cpu/isa/kernels_avx512.cpp
    cpu/isa/kernels_avx512vnni_no_vbmi.cpp
    cpu/isa/kernels_avx512vnni.cpp
    cpu/isa/attention_avx512bf16.cpp
    cpu/isa/linear_avx512bf16.cpp
    cpu/isa/linear_amxbf16.cpp
    cpu/isa/linear_amx.cpp)
  set_source_files_properties(cpu/isa/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX2}")
  set_source_files_properties(cpu/isa/kernels_avxvnni.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX2};-mavxvnni")
  set_source_files_properties(cpu/isa/kernels_avx512.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX512}")
  set_source_files_properties(cpu/isa/kernels_avx512vnni_no_vbmi.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX512};-mavx512vnni")
  set_source_files_properties(cpu/isa/kernels_avx512vnni.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX512};-mavx512vnni;-mavx512vbmi")
  set_source_files_properties(cpu/isa/attention_avx512bf16.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX512};-mavx512bf16")
  set_source_files_properties(cpu/isa/linear_amx.cpp PROPERTIES COMPILE_OPTIONS
    "${CPU_AVX512};-mavx512vnni;-mavx512vbmi;-mamx-tile;-mamx-int8")
  set_source_files_properties(cpu/isa/linear_avx512bf16.cpp PROPERTIES COMPILE_OPTIONS "${CPU_AVX512};-mavx512vbmi;-mavx512bf16")
  set_source_files_properties(cpu/isa/linear_amxbf16.cpp PROPERTIES COMPILE_OPTIONS
    "${CPU_AVX512};-mavx512vbmi;-mavx512bf16;-mamx-tile;-mamx-bf16")
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND CPU_SOURCES cpu/isa/kernels_neon.cpp)
  set_source_files_properties(cpu/isa/kernels_neon.cpp PROPERTIES COMPILE_OPTIONS -march=armv8.2-a+dotprod)
endif()
