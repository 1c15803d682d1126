# Whether the CUDA backend is built: where nvcc is, unless SLUICE_CUDA says otherwise. Without it the stubs of
# src/backend/no_cuda stand in. The program needs no driver to start: the runtime is linked in and looks for one.

include(CheckLanguage)
if(NOT DEFINED SLUICE_CUDA)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER AND NOT CMAKE_CROSSCOMPILING AND NOT SLUICE_SANITIZE)
    set(SLUICE_CUDA ON)
  else()
    set(SLUICE_CUDA OFF)
  endif()
endif()
option(SLUICE_CUDA "Build the CUDA backend (needs nvcc)" ${SLUICE_CUDA})
# For this machine's card; where there is none, for the one that is measured on. The preset `cards` has all of them.
find_program(SLUICE_NVIDIA_SMI nvidia-smi)
set(architectures 90a-real)
if(SLUICE_NVIDIA_SMI)
  execute_process(COMMAND ${SLUICE_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                  OUTPUT_VARIABLE capabilities ERROR_QUIET)
  # `native` would leave out what Hopper has beyond its numbered architecture.
  if(NOT capabilities MATCHES "^9\\.0")
    set(architectures native)
  endif()
endif()
set(SLUICE_CUDA_ARCHITECTURES ${architectures} CACHE STRING "What the kernels are compiled for")

if(SLUICE_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES ${SLUICE_CUDA_ARCHITECTURES})
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # cudart_static is named by the backend
  enable_language(CUDA)
  # CMake 3.25 knows neither that nvcc 13 has it,
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  # nor that nvcc's host compiler looks there last: named by a library, it would hide the compiler's own headers.
  list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES /usr/include)
  find_package(CUDAToolkit REQUIRED)
  # By file, so that whoever links libsluice needs no toolkit's CMake.
  get_target_property(SLUICE_CUDART CUDA::cudart_static IMPORTED_LOCATION)
  set(SLUICE_CUDA_LIBRARIES ${SLUICE_CUDART} rt dl)
endif()
