#include "base/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "base/cgroup.h"
#include "base/error.h"
#include "base/processors.h"
#include "base/size.h"

namespace sluice {

namespace {

// Smaller areas would grow by parts of a huge page that nobody uses.
constexpr size_t kHugePagesFrom = 2 << 20;

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

// Calls visit for each memory cgroup of this process that has a limit.
template <typename Visit>
void for_each_cgroup_limit(Visit visit) {
    for (const ControlGroup& group : control_groups("memory")) {
        const std::string folder = group.folder.string();
        const bool v2 = group.unified;
        const auto limit = read_number(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
        const auto used = read_number(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
        if (!limit || !used || *limit >= (1ull << 60)) continue;
        const std::string stat = folder + "/memory.stat";
        const uint64_t cache = v2 ? read_field(stat, "inactive_file") + read_field(stat, "active_file")
                                  : read_field(stat, "total_inactive_file") + read_field(stat, "total_active_file");
        visit(CgroupMemory{*limit, *used - std::min(*used, cache)});
    }
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345", microseconds.
std::optional<double> stall_seconds_of(const std::string& pressure_file) {
    std::ifstream in(pressure_file);
    std::string kind, field;
    in >> kind;
    if (kind != "some") return std::nullopt;
    while (in >> field && field.rfind("total=", 0) != 0) {
    }
    uint64_t microseconds = 0;
    if (!in || !(std::istringstream(field.substr(6)) >> microseconds)) return std::nullopt;
    return static_cast<double>(microseconds) * 1e-6;
}

// Resident pages, bytes: all, and those of files.
struct ResidentMemory {
    uint64_t all = 0, files = 0;
};

ResidentMemory resident_memory() {
    std::ifstream in("/proc/self/statm");
    uint64_t total = 0, resident = 0, shared = 0;
    in >> total >> resident >> shared;
    const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    return {resident * page, shared * page};
}

}  // namespace

PageMemory::PageMemory(size_t wanted, PageUse use) : size_(round_up(std::max<size_t>(wanted, 1), kPageBytes)) {
    void* data = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) {
        fail(ErrorCode::kOutOfMemory, "the system refused {} of memory: {}", format_size(wanted), errno_text(errno));
    }
    data_ = static_cast<std::byte*>(data);
    if (size_ >= kHugePagesFrom) spread_over_nodes(bytes());
#ifdef MADV_HUGEPAGE
    // A direct read into small pages costs the kernel a lookup and a segment for each: it halves a fast drive's speed.
    if (size_ >= kHugePagesFrom) ::madvise(data_, size_, use == PageUse::kWhole ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#endif
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

void PageMemory::release(size_t offset, size_t bytes) const {
    ::madvise(data_ + offset, bytes, MADV_DONTNEED);
}

void clear_memory(std::span<std::byte> bytes) {
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    const size_t before = std::min<size_t>(round_up(address, kPageBytes) - address, bytes.size());
    const size_t whole = (bytes.size() - before) / kPageBytes * kPageBytes;
    std::memset(bytes.data(), 0, before);
    if (whole > 0 && ::madvise(bytes.data() + before, whole, MADV_DONTNEED) != 0) {
        std::memset(bytes.data() + before, 0, whole);
    }
    const std::span<std::byte> after = bytes.subspan(before + whole);
    std::memset(after.data(), 0, after.size());
}

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
    return resident_memory().all;
}

uint64_t private_resident_bytes() {
    // Exact, while the counters behind statm lag by up to some megabytes on a machine of many cores.
    std::ifstream in("/proc/self/smaps_rollup");
    const std::string field = "Anonymous:";
    for (std::string line; std::getline(in, line);) {
        uint64_t kilobytes = 0;
        if (line.rfind(field, 0) == 0 && std::istringstream(line.substr(field.size())) >> kilobytes)
            return kilobytes * 1024;
    }
    const ResidentMemory memory = resident_memory();
    return memory.all - std::min(memory.all, memory.files);
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
        available =
            static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) / 2;
    }
    for_each_cgroup_limit([&](const CgroupMemory& group) {
        available = std::min(available, group.limit - std::min(group.limit, group.used));
    });
    // Pages of files that this process has mapped and touched: page cache to the kernel, working memory to us.
    return available - std::min(available, resident_memory().files);
}

std::optional<double> memory_stall_seconds() {
    std::optional<double> most = stall_seconds_of("/proc/pressure/memory");
    for (const ControlGroup& group : control_groups("memory")) {
        const auto seconds = group.unified ? stall_seconds_of(group.folder / "memory.pressure") : std::nullopt;
        if (seconds) most = std::max(most.value_or(0), *seconds);
    }
    return most;
}

std::string lock_memory(std::span<const std::byte> bytes) {
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    const uintptr_t first = address / kPageBytes * kPageBytes;
    const size_t length = address - first + bytes.size();
    return ::mlock(reinterpret_cast<const void*>(first), length) == 0 ? std::string() : errno_text(errno);
}

std::optional<uint64_t> cgroup_memory_limit_bytes() {
    std::optional<uint64_t> limit;
    for_each_cgroup_limit(
        [&](const CgroupMemory& group) { limit = limit ? std::min(*limit, group.limit) : group.limit; });
    return limit;
}

}  // namespace sluice
