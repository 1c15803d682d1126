#include "base/special_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.h"

namespace sluice {

namespace {

class Descriptor {
  public:
    explicit Descriptor(int number) : number_(number) {}
    ~Descriptor() { ::close(number_); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    operator int() const { return number_; }

  private:
    int number_;
};

void write_all(int target, const std::byte* data, size_t bytes, const std::filesystem::path& path) {
    while (bytes > 0) {
        const ssize_t written = ::write(target, data, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(ErrorCode::kIo, "{}: {}", path.string(), errno_text(errno));
        data += written;
        bytes -= static_cast<size_t>(written);
    }
}

}  // namespace

bool is_replaceable(const std::filesystem::path& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode);
}

void write_through(int source, const std::filesystem::path& path) {
    const int opened = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (opened < 0) fail(ErrorCode::kIo, "{}: {}", path.string(), errno_text(errno));
    const Descriptor target(opened);
    std::vector<std::byte> buffer(1 << 20);
    for (off_t offset = 0;;) {
        const ssize_t got = ::pread(source, buffer.data(), buffer.size(), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(ErrorCode::kIo, "{}: {}", path.string(), errno_text(errno));
        if (got == 0) break;
        write_all(target, buffer.data(), static_cast<size_t>(got), path);
        offset += got;
    }
    // Of a device or a FIFO there is nothing to flush.
    if (::fsync(target) != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP)
        fail(ErrorCode::kIo, "{}: fsync: {}", path.string(), errno_text(errno));
}

}  // namespace sluice
