#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "sluice/choices.h"

namespace sluice {

// `bytes` of a file, to `destination`. Requests with one tag belong together (the parts of one expert).
struct ReadRequest {
    uint32_t file = 0;  // index into the reader's files
    uint64_t offset = 0;
    uint64_t bytes = 0;
    std::byte* destination = nullptr;
    uint64_t tag = 0;
};

struct ReadResult {
    uint64_t tag = 0;
    uint64_t transferred = 0;            // bytes from the drive or the page cache, rounding included
    bool cancelled = false;              // never started, because cancel() came first
    std::exception_ptr error = nullptr;  // an Error naming file, offset and errno
};

// Reads that run while the caller goes on. Every request is answered exactly once, in any order, through the Completed
// given at construction, from a thread of the reader or of whoever calls cancel() or the destructor. Thread-safe.
class Reader {
  public:
    using Completed = std::function<void(const ReadResult&)>;

    virtual ~Reader() = default;  // cancels what has not started and answers everything before it returns
    virtual void submit(std::span<const ReadRequest> requests) = 0;
    virtual void cancel(uint64_t tag) = 0;  // of requests that have not started
    virtual std::string name() const = 0;   // "pread x8", "io_uring depth 32", "mmap x8"
    virtual bool direct() const = 0;        // past the page cache
};

// The files that a reader reads, all opened one way. Thread-safe once made.
class ReaderFiles {
  public:
    ReaderFiles(const std::vector<std::filesystem::path>& paths, bool direct, bool drop_behind);

    const File& operator[](uint32_t index) const { return files_[index]; }
    size_t size() const { return files_.size(); }
    // Past the page cache, and no read was refused so far.
    bool direct() const { return direct_ && !fallback_->refused; }
    bool opened_direct() const { return direct_; }
    // A direct read was refused: all that follow go through the page cache. Said once in the log.
    void give_up_direct(const std::string& file) const;
    // The file through the page cache, opened for that when it is first asked for.
    const File& buffered(uint32_t index) const;
    // After a read past which the page cache should keep nothing.
    void done_with(const ReadRequest& request) const;

  private:
    std::vector<File> files_;
    bool direct_;
    bool drop_behind_;

    struct Fallback {
        std::atomic<bool> refused = false;
        std::mutex mutex;
        std::map<uint32_t, File> files;
    };
    std::unique_ptr<Fallback> fallback_ = std::make_unique<Fallback>();
};

// A part of a request as it is transferred: rounded outward to whole pages where the reader is direct.
struct Transfer {
    uint64_t offset = 0;  // in the file
    uint64_t bytes = 0;
    uint64_t skip = 0;     // bytes in front of the wanted ones
    bool bounced = false;  // must land in a bounce buffer first
};
// The transfer of `bytes` at `offset` to `destination`.
Transfer make_transfer(uint64_t offset, uint64_t bytes, const std::byte* destination, bool direct);

// Where direct reads land that are not whole pages of memory: one stretch for all, so that it gets huge pages.
class BounceBuffers {
  public:
    static constexpr uint64_t kBytes = 512 << 10;  // of one: its copy comes from the processor's caches

    BounceBuffers(size_t count, bool needed) : memory_(needed ? PageMemory(count * kBytes) : PageMemory()) {}
    // Empty where none is needed.
    std::span<std::byte> at(size_t index) const {
        return memory_.size() == 0 ? std::span<std::byte>() : memory_.bytes().subspan(index * kBytes, kBytes);
    }

  private:
    PageMemory memory_;
};

// A drive that has not answered for as long as is allowed is asked again, but not waited for as long.
inline constexpr double kSecondsForAGoneDrive = 1;

// Why a read failed: text, so that each request gets an exception of its own and none is shared between threads.
struct ReadFailure {
    ErrorCode code = ErrorCode::kIo;
    std::string text;
};

ReadFailure failure_of(const std::exception_ptr& error);

std::exception_ptr read_error(const File& file, uint64_t offset, int error_number);
std::exception_ptr short_read_error(const File& file, uint64_t ends_at, const ReadRequest& request);

// Threads that each do one read after the other: pread, or copies out of a mapping.
std::unique_ptr<Reader> make_pread_reader(ReaderFiles files, size_t threads, Reader::Completed completed);
std::unique_ptr<Reader> make_mmap_reader(ReaderFiles files, size_t threads, Reader::Completed completed);
// Null where this build, the kernel or the container has no io_uring; `why` then says which.
std::unique_ptr<Reader> make_uring_reader(ReaderFiles& files, size_t depth, Reader::Completed completed,
                                          std::string& why);

struct ReaderOptions {
    ReaderKind kind = ReaderKind::kAuto;
    When direct = When::kAuto;
    size_t depth = 0;             // threads, or entries in a queue; 0: measured, or a default where that says nothing
    uint64_t record_bytes = 0;    // of a typical read, for the measurement
    uint64_t read_bytes = 0;      // of all that may be read, against memory
    uint64_t reserved_bytes = 0;  // of memory that will be taken by others (the cache)
};

// Opens `paths` the way that suits the machine. Direct I/O (kAuto) is for what does not fit in memory and is tried with
// one real transfer; where it is refused, and where io_uring is, the next best is taken and said in the log. kAuto
// reads with a pool of threads. Throws what File::open throws.
std::unique_ptr<Reader> open_reader(const std::vector<std::filesystem::path>& paths, const ReaderOptions& options,
                                    Reader::Completed completed);

// True when a direct read of one page of `path` works.
bool direct_io_works(const std::filesystem::path& path);

}  // namespace sluice
