# Whether several machines can work together over MPI: where it is, unless SLUICE_MPI says otherwise. What is linked to
# it is a library of its own, which only those load whom mpirun started.

if(NOT DEFINED SLUICE_MPI AND NOT CMAKE_CROSSCOMPILING AND NOT SLUICE_SANITIZE)
  find_package(MPI QUIET COMPONENTS C)
  set(SLUICE_MPI ${MPI_C_FOUND})
endif()
option(SLUICE_MPI "Build what reaches other machines over MPI" ${SLUICE_MPI})
if(SLUICE_MPI)
  find_package(MPI REQUIRED COMPONENTS C)
endif()
