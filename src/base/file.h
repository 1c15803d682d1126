#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "base/mapping_guard.h"

namespace sluice {

// What read_at() and read_up_to() of a file opened with kReadDirect throw where the file system takes the flag and
// then refuses a read: the same bytes can be had through the page cache.
class DirectReadRefused : public Error {
  public:
    using Error::Error;
};

// An open file, read by position. Const methods may be called from many threads at once.
class File {
  public:
    enum class Access { kRead, kReadDirect };  // direct: past the page cache (O_DIRECT), aligned transfers only

    // Throws kNotFound or kIo, naming the path; kInvalidFile for what is no regular file, without waiting for it. The
    // process's soft limit of open files is raised where it does not do.
    static File open(const std::filesystem::path& path, Access access = Access::kRead);

    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    // Reads exactly out.size() bytes at `offset`; throws kIo with path, offset and errno, or that the file ends.
    void read_at(uint64_t offset, std::span<std::byte> out) const;
    // As read_at, but the file may end (where it ended at open, or before) ahead of `out`; returns the bytes read.
    size_t read_up_to(uint64_t offset, std::span<std::byte> out) const;

    uint64_t size() const { return size_; }  // when it was opened
    uint64_t size_now() const;               // 0 where the system does not say
    int descriptor() const { return descriptor_; }
    const std::string& label() const { return label_; }  // the path, for messages

    // Tells the kernel that these cached pages will not be needed again.
    void drop_cached_pages(uint64_t offset, uint64_t bytes) const;

  private:
    File(int descriptor, uint64_t size, std::string label, bool direct);
    int descriptor_ = -1;
    uint64_t size_ = 0;
    std::string label_;
    bool direct_ = false;
};

// A read-only mapping of a whole file; the bytes stay valid as long as a copy of the pointer lives. A file that is cut
// meanwhile reads as zeros from there on.
class MappedFile {
  public:
    static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path) { return of(File::open(path)); }
    static std::shared_ptr<const MappedFile> of(File file);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::span<const std::byte> bytes() const { return {data_, file_.size()}; }
    const std::string& label() const { return file_.label(); }
    // Throws kIo, naming the file, when what was read since the last call may have been zeros instead of the file's
    // bytes. Nobody may be reading meanwhile. A file that is whole again reads as such from then on.
    void check_intact() const;

  private:
    MappedFile(File file, std::byte* data);
    File file_;
    std::byte* data_;
    mutable MappingGuard guard_;
};

// Who may read what is written: everybody whom the umask lets, or the user alone.
enum class Privacy { kShared, kPrivate };

// Makes the folder and those above it where they are missing, for the user alone: they hold what was said to a model.
// Throws kIo.
void create_private_folders(const std::filesystem::path& folder);

// A file that appears under its name only when complete: written beside it under a temporary name, flushed to the
// drive, renamed. Destroyed before commit(), it leaves nothing behind.
class AtomicFile {
  public:
    // Throws kIo, and then leaves nothing behind.
    explicit AtomicFile(std::filesystem::path path, Privacy privacy = Privacy::kShared);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    void append(std::span<const std::byte> bytes);                     // throws kIo
    void write_at(uint64_t offset, std::span<const std::byte> bytes);  // throws kIo
    uint64_t position() const { return position_; }                    // bytes appended so far
    void commit();                                                     // fsync, rename, fsync of the folder

  private:
    std::filesystem::path path_;
    std::filesystem::path temporary_;
    int descriptor_ = -1;
    uint64_t position_ = 0;
};

// The whole file as text. Throws kNotFound or kIo; kInvalidFile when it is larger than `limit_bytes`.
std::string read_text_file(const std::filesystem::path& path, uint64_t limit_bytes = 1ull << 30);
// Replaces the file atomically.
void write_text_file(const std::filesystem::path& path, const std::string& text, Privacy privacy = Privacy::kShared);

}  // namespace sluice
