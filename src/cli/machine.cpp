#include "cli/machine.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/memory.h"
#include "base/processor_features.h"
#include "base/processors.h"

namespace sluice::cli {

namespace {

// The value of "key : value" in a file such as /proc/cpuinfo or /proc/meminfo.
std::string field(const char* path, std::string_view key) {
    std::ifstream in(path);
    std::string line;
    while (std::getline(in, line)) {
        const size_t colon = line.find(':');
        if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
        const size_t begin = line.find_first_not_of(" \t", colon + 1);
        return begin == std::string::npos ? std::string() : line.substr(begin);
    }
    return {};
}

uint64_t meminfo_bytes(std::string_view key) {
    uint64_t kilobytes = 0;
    std::istringstream(field("/proc/meminfo", key)) >> kilobytes;
    return kilobytes * 1024;
}

// A line of mountinfo: "36 35 98:0 /root /mount/point options - type source superoptions".
struct Mount {
    std::string point, filesystem, source;
};

std::optional<Mount> parse_mount(const std::string& line) {
    std::istringstream in(line);
    std::string skipped, word;
    Mount mount;
    for (int i = 0; i < 4; ++i) in >> skipped;
    in >> mount.point;
    while (in >> word && word != "-") {
    }
    if (!(in >> mount.filesystem >> mount.source)) return std::nullopt;
    return mount;
}

Mount mount_of(const std::filesystem::path& path) {
    std::error_code error;
    const std::string place = std::filesystem::canonical(path, error).string();
    std::ifstream in("/proc/self/mountinfo");
    std::string line;
    Mount best;
    while (std::getline(in, line)) {
        const auto mount = parse_mount(line);
        if (!mount || mount->point.size() < best.point.size()) continue;
        const bool inside = mount->point == "/" || place == mount->point || place.rfind(mount->point + "/", 0) == 0;
        if (inside) best = *mount;
    }
    return best;
}

// Of a partition, the drive it is on says whether it turns.
std::optional<bool> rotational(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    const std::string device = fmt::format("/sys/dev/block/{}:{}", major(status.st_dev), minor(status.st_dev));
    for (const char* place : {"/queue/rotational", "/../queue/rotational"}) {
        std::ifstream in(device + place);
        int value = 0;
        if (in >> value) return value != 0;
    }
    return std::nullopt;
}

// A file of a page or more to try on: `path` itself, or the largest one in the folder; empty without any.
std::filesystem::path readable_file(const std::filesystem::path& path) {
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error))
        return std::filesystem::file_size(path, error) < kPageBytes ? std::filesystem::path() : path;
    std::filesystem::path best;
    uintmax_t best_size = kPageBytes - 1;
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
        if (!entry.is_regular_file(error)) continue;
        const uintmax_t size = entry.file_size(error);
        if (!error && size > best_size) {
            best = entry.path();
            best_size = size;
        }
    }
    return best;
}

// Why one aligned page of the file cannot be read past the page cache; empty when it can.
std::string direct_io_refusal(const std::filesystem::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (descriptor < 0) return errno_text(errno);
    const PageMemory page(kPageBytes);
    const ssize_t got = ::pread(descriptor, page.data(), page.size(), 0);
    const int problem = errno;
    ::close(descriptor);
    return got == static_cast<ssize_t>(page.size()) ? std::string() : errno_text(problem);
}

}  // namespace

ProcessorFacts processor_facts() {
    ProcessorFacts facts;
    facts.name = field("/proc/cpuinfo", "model name");
    for (const std::string_view name : processor_feature_names()) facts.features.emplace_back(name);
    facts.cores_online = std::thread::hardware_concurrency();
    facts.cores_allowed = available_cores();
    return facts;
}

MemoryFacts memory_facts() {
    MemoryFacts facts;
    facts.total = meminfo_bytes("MemTotal:");
    facts.page_cache = meminfo_bytes("Cached:");
    facts.swap_total = meminfo_bytes("SwapTotal:");
    facts.swap_used = facts.swap_total - std::min(facts.swap_total, meminfo_bytes("SwapFree:"));
    facts.available = available_memory_bytes();
    facts.cgroup_limit = cgroup_memory_limit_bytes();
    std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
    std::string word;
    while (in >> word) {
        if (word.front() == '[') facts.huge_pages = word.substr(1, word.size() - 2);
    }
    return facts;
}

DriveFacts drive_facts(const std::filesystem::path& path) {
    DriveFacts facts;
    const Mount mount = mount_of(path);
    facts.mount_point = mount.point;
    facts.filesystem = mount.filesystem;
    facts.device = mount.source;
    facts.rotational = rotational(path);
    struct statvfs space {};
    if (::statvfs(path.c_str(), &space) == 0) {
        facts.free_bytes = static_cast<uint64_t>(space.f_bavail) * static_cast<uint64_t>(space.f_frsize);
    }
    const std::filesystem::path file = readable_file(path);
    facts.direct_io_untried = file.empty();
    if (!file.empty()) facts.direct_io_refusal = direct_io_refusal(file);
    facts.direct_io = !file.empty() && facts.direct_io_refusal.empty();
    return facts;
}

std::string io_uring_refusal() {
    struct io_uring_params parameters {};
    const long descriptor = ::syscall(__NR_io_uring_setup, 1, &parameters);
    if (descriptor < 0) return errno_text(errno);
    ::close(static_cast<int>(descriptor));
    return {};
}

std::optional<Card> card_of(std::string_view device) {
    const std::optional<size_t> number = card_number(device);
    const std::vector<Card> found = cards();
    if (!number || *number >= found.size()) return std::nullopt;
    return found[*number];
}

}  // namespace sluice::cli
