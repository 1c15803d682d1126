#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <utility>

#include "base/special_file.h"

namespace sluice {

namespace {

// As much of the limit as the process may give itself; false where it has that already.
bool raise_open_file_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return false;
    limit.rlim_cur = limit.rlim_max;
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// open(), and again with a higher limit where there are too many files; -1 with errno where that does not help.
int open_descriptor(const std::filesystem::path& path, int flags, mode_t mode = 0) {
    const int descriptor = ::open(path.c_str(), flags, mode);
    if (descriptor >= 0 || errno != EMFILE || !raise_open_file_limit()) return descriptor;
    return ::open(path.c_str(), flags, mode);
}

[[noreturn]] void fail_open(const std::filesystem::path& path, int error_number) {
    if (error_number == EMFILE) {
        fail(ErrorCode::kIo, "{}: {}; a higher limit (`ulimit -n`) would do", path.string(), errno_text(error_number));
    }
    const ErrorCode code = error_number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    fail(code, "{}: {}", path.string(), errno_text(error_number));
}

// pread until `out` is full or the position `end` is reached; returns the bytes read, fewer only at the end of the
// file.
size_t read_fully(int descriptor, uint64_t offset, uint64_t end, std::span<std::byte> out, const std::string& label,
                  bool direct) {
    size_t done = 0;
    while (done < out.size() && offset + done < end) {
        const ssize_t n = ::pread(descriptor, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const int error_number = errno;
            const std::string what =
                fmt::format("{}: read at offset {}: {}", label, offset + done, errno_text(error_number));
            if (direct && error_number == EINVAL) throw DirectReadRefused(ErrorCode::kIo, what);
            throw Error(ErrorCode::kIo, what);
        }
        if (n == 0) break;
        done += static_cast<size_t>(n);
    }
    return done;
}

void write_fully(int descriptor, uint64_t offset, std::span<const std::byte> bytes, const std::string& label) {
    size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t n =
            ::pwrite(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail(ErrorCode::kIo, "{}: write at offset {}: {}", label, offset + done, errno_text(errno));
        done += static_cast<size_t>(n);
    }
}

}  // namespace

File::File(int descriptor, uint64_t size, std::string label, bool direct)
    : descriptor_(descriptor), size_(size), label_(std::move(label)), direct_(direct) {}

File File::open(const std::filesystem::path& path, Access access) {
    int flags = O_RDONLY | O_CLOEXEC;
#ifdef O_DIRECT
    if (access == Access::kReadDirect) flags |= O_DIRECT;
#endif
    const int descriptor = open_descriptor(path, flags | O_NONBLOCK);  // a FIFO would wait for a writer
    if (descriptor < 0) fail_open(path, errno);
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
        const int error_number = errno;
        const bool regular = S_ISREG(status.st_mode);
        ::close(descriptor);
        if (!regular) fail(ErrorCode::kInvalidFile, "{}: not a regular file", path.string());
        fail_open(path, error_number);
    }
    return {descriptor, static_cast<uint64_t>(status.st_size), path.string(), access == Access::kReadDirect};
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      label_(std::move(other.label_)),
      direct_(other.direct_) {}

File& File::operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    std::swap(label_, other.label_);
    std::swap(direct_, other.direct_);
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void File::read_at(uint64_t offset, std::span<std::byte> out) const {
    const size_t done = read_fully(descriptor_, offset, UINT64_MAX, out, label_, direct_);
    if (done < out.size()) {
        fail(ErrorCode::kIo, "{}: ends at byte {}, but {} bytes at offset {} were expected", label_, offset + done,
             out.size(), offset);
    }
}

uint64_t File::size_now() const {
    struct stat status {};
    return ::fstat(descriptor_, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
}

size_t File::read_up_to(uint64_t offset, std::span<std::byte> out) const {
    // A direct read may not go on from an end that is no multiple of a block.
    return read_fully(descriptor_, offset, size_, out, label_, direct_);
}

void File::drop_cached_pages(uint64_t offset, uint64_t bytes) const {
#ifdef POSIX_FADV_DONTNEED
    ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
#else
    (void)offset;
    (void)bytes;
#endif
}

namespace {

// At `place`, or where the system likes.
void* map_file(const File& file, void* place) {
    const int flags = place == nullptr ? MAP_SHARED : MAP_SHARED | MAP_FIXED;
    void* data = ::mmap(place, file.size(), PROT_READ, flags, file.descriptor(), 0);
    if (data == MAP_FAILED) fail(ErrorCode::kIo, "{}: mmap: {}", file.label(), errno_text(errno));
    return data;
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::of(File file) {
    if (file.size() == 0) fail(ErrorCode::kInvalidFile, "{}: the file is empty", file.label());
    auto* data = static_cast<std::byte*>(map_file(file, nullptr));
    return std::shared_ptr<const MappedFile>(new MappedFile(std::move(file), data));
}

MappedFile::MappedFile(File file, std::byte* data) : file_(std::move(file)), data_(data), guard_(data_, file_.size()) {}

MappedFile::~MappedFile() {
    ::munmap(data_, file_.size());
}

void MappedFile::check_intact() const {
    // The rest of the last page of a file that was cut is zeros without a signal, so its size counts, too.
    const uint64_t now = file_.size_now();
    const bool torn = guard_.torn();
    if (now >= file_.size() && !torn) return;
    if (torn) {
        map_file(file_, data_);
        guard_.mended();
    }
    if (now < file_.size()) {
        fail(ErrorCode::kIo, "{}: cut from {} to {} bytes while it was in use; put it back as it was", label(),
             file_.size(), now);
    }
    fail(ErrorCode::kIo, "{}: a part could not be read: its drive failed, or it was cut for a time; try again",
         label());
}

AtomicFile::AtomicFile(std::filesystem::path path, Privacy privacy) : path_(std::move(path)) {
    // The kernel applies the umask when it makes the file. Asking for the umask would change it for a moment, and with
    // it the files that other threads make meanwhile.
    const mode_t mode = privacy == Privacy::kPrivate ? 0600 : 0666;
    // A name that cannot be replaced is written through in the end, from a place where any file may be made.
    const std::filesystem::path place =
        is_replaceable(path_) ? path_ : std::filesystem::temp_directory_path() / path_.filename();
    std::random_device random;
    for (int attempt = 0; descriptor_ < 0; ++attempt) {
        constexpr int kMostAttempts = 100;
        temporary_ = fmt::format("{}.tmp-{:08x}", place.string(), random());
        descriptor_ = open_descriptor(temporary_, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (descriptor_ < 0 && (errno != EEXIST || attempt == kMostAttempts)) {
            fail(ErrorCode::kIo, "{}: {}", path_.string(), errno_text(errno));
        }
    }
}

AtomicFile::~AtomicFile() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
}

void AtomicFile::append(std::span<const std::byte> bytes) {
    write_at(position_, bytes);
    position_ += bytes.size();
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
    write_fully(descriptor_, offset, bytes, temporary_.string());
}

void AtomicFile::commit() {
    if (!is_replaceable(path_)) {
        write_through(descriptor_, path_);
        ::unlink(temporary_.c_str());
        ::close(std::exchange(descriptor_, -1));
        return;
    }
    if (::fsync(descriptor_) != 0) fail(ErrorCode::kIo, "{}: fsync: {}", path_.string(), errno_text(errno));
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
        fail(ErrorCode::kIo, "{}: rename: {}", path_.string(), errno_text(errno));
    }
    ::close(std::exchange(descriptor_, -1));
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    const int folder_descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_descriptor >= 0) {
        ::fsync(folder_descriptor);
        ::close(folder_descriptor);
    }
}

void create_private_folders(const std::filesystem::path& folder) {
    if (folder.empty() || std::filesystem::is_directory(folder)) return;
    create_private_folders(folder.parent_path());
    if (::mkdir(folder.c_str(), 0700) == 0) return;
    const int error_number = errno;
    // Another process may have made it meanwhile.
    if (error_number == EEXIST && std::filesystem::is_directory(folder)) return;
    fail(ErrorCode::kIo, "{}: {}", folder.string(), errno_text(error_number == EEXIST ? ENOTDIR : error_number));
}

std::string read_text_file(const std::filesystem::path& path, uint64_t limit_bytes) {
    const File file = File::open(path);
    if (file.size() > limit_bytes) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes, more than the {} allowed here", path.string(), file.size(),
             limit_bytes);
    }
    std::string text(file.size(), '\0');
    file.read_at(0, std::as_writable_bytes(std::span(text)));
    return text;
}

void write_text_file(const std::filesystem::path& path, const std::string& text, Privacy privacy) {
    AtomicFile file(path, privacy);
    file.append(std::as_bytes(std::span(text)));
    file.commit();
}

}  // namespace sluice
