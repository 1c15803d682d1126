#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>

namespace sluice {

// Lets this process take `bytes` of address space more than it has, and no more; for a child that a test forked.
inline void limit_address_space(uint64_t bytes) {
    rlimit limit{};
    ::getrlimit(RLIMIT_AS, &limit);
    std::ifstream in("/proc/self/statm");
    uint64_t pages = 0;
    in >> pages;
    limit.rlim_cur = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) + bytes;
    ::setrlimit(RLIMIT_AS, &limit);
}

}  // namespace sluice
