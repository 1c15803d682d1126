#include "base/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/size.h"

namespace sluice {

namespace {

// A cgroup file's number; nothing where the file is missing or says "max".
std::optional<uint64_t> read_number(const std::string& path) {
    std::ifstream in(path);
    uint64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;
}

// The field of a "key value" file such as memory.stat, bytes.
uint64_t read_field(const std::string& path, const std::string& key) {
    std::ifstream in(path);
    std::string name;
    uint64_t value = 0;
    while (in >> name >> value) {
        if (name == key) return value;
    }
    return 0;
}

struct CgroupMemory {
    uint64_t limit;
    uint64_t used;  // without page cache that the kernel would drop
};

// Calls visit for this process's memory cgroup and each of its ancestors that has a limit.
template <typename Visit>
void for_each_cgroup_limit(Visit visit) {
    std::ifstream in("/proc/self/cgroup");
    std::string line;
    while (std::getline(in, line)) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool v2 = controllers.empty();
        if (!v2 && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
        const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
        const char* limit_file = v2 ? "/memory.max" : "/memory.limit_in_bytes";
        const char* usage_file = v2 ? "/memory.current" : "/memory.usage_in_bytes";
        std::string path = line.substr(second + 1);
        while (true) {
            const std::string folder = root + (path == "/" ? "" : path);
            const auto limit = read_number(folder + limit_file);
            const auto used = read_number(folder + usage_file);
            if (limit && used && *limit < (1ull << 60)) {
                const std::string stat = folder + "/memory.stat";
                const uint64_t cache = v2 ? read_field(stat, "inactive_file") + read_field(stat, "active_file")
                                          : read_field(stat, "total_inactive_file") + read_field(stat, "total_active_file");
                visit(CgroupMemory{*limit, *used - std::min(*used, cache)});
            }
            if (path.empty() || path == "/") break;
            path.erase(path.rfind('/'));
        }
    }
}

}  // namespace

PageMemory::PageMemory(size_t bytes) : size_(round_up(std::max<size_t>(bytes, 1), kPageBytes)) {
    void* data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
        fail(ErrorCode::kOutOfMemory, "the system refused {} of memory: {}", format_size(bytes), errno_text(errno));
    }
    data_ = static_cast<std::byte*>(data);
}

PageMemory::PageMemory(PageMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

PageMemory& PageMemory::operator=(PageMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

PageMemory::~PageMemory() {
    if (data_ != nullptr) ::munmap(data_, size_);
}

void PageMemory::release(size_t offset, size_t bytes) const { ::madvise(data_ + offset, bytes, MADV_DONTNEED); }

uint64_t peak_resident_bytes() {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return static_cast<uint64_t>(usage.ru_maxrss);
#else
    return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
#endif
}

uint64_t resident_bytes() {
    std::ifstream in("/proc/self/statm");
    uint64_t total = 0, resident = 0;
    in >> total >> resident;
    return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t available_memory_bytes() {
    uint64_t available = 0;
    std::ifstream in("/proc/meminfo");
    std::string line;
    while (std::getline(in, line)) {
        if (line.rfind("MemAvailable:", 0) == 0) {
            std::istringstream(line.substr(13)) >> available;
            available *= 1024;
        }
    }
    if (available == 0) {
        available = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
    }
    for_each_cgroup_limit([&](const CgroupMemory& group) {
        available = std::min(available, group.limit - std::min(group.limit, group.used));
    });
    return available;
}

std::optional<uint64_t> cgroup_memory_limit_bytes() {
    std::optional<uint64_t> limit;
    for_each_cgroup_limit(
        [&](const CgroupMemory& group) { limit = limit ? std::min(*limit, group.limit) : group.limit; });
    return limit;
}

}  // namespace sluice
