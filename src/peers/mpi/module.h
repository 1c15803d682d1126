#pragma once

// The part that is linked to MPI is a library of its own, loaded by those whom a launcher started.

namespace sluice {

class Peers;

inline constexpr const char* kMpiModule = "libsluice_mpi.so";
inline constexpr const char* kJoinMpi = "sluice_join_mpi";
using JoinMpi = Peers*();  // new; throws Error

}  // namespace sluice
