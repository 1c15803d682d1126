#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/start_thread.h"
#include "experts/reader.h"

namespace sluice {

namespace {

// Reads one request; returns the bytes transferred. `bounce` is the calling thread's own.
using TransferFunction = std::function<uint64_t(const ReaderFiles&, const ReadRequest&, std::span<std::byte> bounce)>;

uint64_t read_buffered(const ReaderFiles& files, const ReadRequest& request) {
    files.buffered(request.file).read_at(request.offset, {request.destination, request.bytes});
    files.done_with(request);
    return request.bytes;
}

// Reads what lies between page borders around the request through the bounce buffer, a piece at a time.
uint64_t read_bounced(const File& file, const ReadRequest& request, std::span<std::byte> bounce) {
    uint64_t transferred = 0;
    for (uint64_t done = 0; done < request.bytes;) {
        const uint64_t offset = request.offset + done;
        // Up to a page border, so that only the first piece starts off one.
        const uint64_t bytes = std::min(request.bytes - done, bounce.size() - offset % kPageBytes);
        const Transfer transfer = make_transfer(offset, bytes, nullptr, true);
        const uint64_t got = file.read_up_to(transfer.offset, {bounce.data(), transfer.bytes});
        transferred += got;
        if (got < transfer.skip + bytes) std::rethrow_exception(short_read_error(file, transfer.offset + got, request));
        std::memcpy(request.destination + done, bounce.data() + transfer.skip, bytes);
        done += bytes;
    }
    return transferred;
}

uint64_t read_direct(const ReaderFiles& files, const ReadRequest& request, std::span<std::byte> bounce) {
    const File& file = files[request.file];
    const Transfer transfer = make_transfer(request.offset, request.bytes, request.destination, true);
    if (transfer.bounced) return read_bounced(file, request, bounce);
    file.read_at(request.offset, {request.destination, request.bytes});
    return request.bytes;
}

uint64_t pread_request(const ReaderFiles& files, const ReadRequest& request, std::span<std::byte> bounce) {
    if (!files.direct()) return read_buffered(files, request);
    try {
        return read_direct(files, request, bounce);
    } catch (const DirectReadRefused&) {
        files.give_up_direct(files[request.file].label());
        return read_buffered(files, request);
    }
}

// A copy out of the mapping made by the kernel, which stops where the file was cut or a page cannot be read instead of
// raising SIGBUS. Returns the bytes copied.
uint64_t copy_mapped(const MappedFile& file, const ReadRequest& request) {
#ifdef __linux__
    if (request.offset >= file.bytes().size()) return 0;
    const uint64_t bytes = std::min<uint64_t>(request.bytes, file.bytes().size() - request.offset);
    iovec to{request.destination, bytes};
    iovec from{const_cast<std::byte*>(file.bytes().data()) + request.offset, bytes};
    const ssize_t copied = ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0);
    // The pages stay in the page cache, but this process holds them no longer.
    auto* const first = static_cast<std::byte*>(from.iov_base) - request.offset % kPageBytes;
    ::madvise(first, bytes + request.offset % kPageBytes, MADV_DONTNEED);
    return copied < 0 ? 0 : static_cast<uint64_t>(copied);
#else
    (void)file;
    (void)request;
    return 0;
#endif
}

class PoolReader final : public Reader {
  public:
    PoolReader(ReaderFiles files, size_t threads, std::string label, TransferFunction transfer, Completed completed)
        : files_(std::move(files)),
          label_(std::move(label)),
          transfer_(std::move(transfer)),
          completed_(std::move(completed)),
          bounce_(threads, files_.direct()) {
        start(threads);
    }

    ~PoolReader() override {
        std::deque<ReadRequest> left;
        {
            const std::scoped_lock lock(mutex_);
            stopping_ = true;
            left.swap(queue_);
        }
        wake_.notify_all();
        for (auto& thread : threads_) thread.join();
        for (const ReadRequest& request : left) completed_({.tag = request.tag, .cancelled = true});
    }

    void submit(std::span<const ReadRequest> requests) override {
        {
            const std::scoped_lock lock(mutex_);
            queue_.insert(queue_.end(), requests.begin(), requests.end());
        }
        if (requests.size() == 1) {
            wake_.notify_one();
        } else {
            wake_.notify_all();
        }
    }

    void cancel(uint64_t tag) override {
        size_t cancelled = 0;
        {
            const std::scoped_lock lock(mutex_);
            cancelled = std::erase_if(queue_, [&](const ReadRequest& request) { return request.tag == tag; });
        }
        for (size_t i = 0; i < cancelled; ++i) completed_({.tag = tag, .cancelled = true});
    }

    std::string name() const override { return fmt::format("{} x{}", label_, threads_.size()); }
    bool direct() const override { return files_.direct(); }

  private:
    // As many as the system starts: fewer read the same, one is needed.
    void start(size_t threads) {
        threads_.reserve(threads);
        for (size_t i = 0; i < threads; ++i) {
            try {
                threads_.push_back(start_thread([this, i] { work(bounce_.at(i)); }));
            } catch (const Error& error) {
                if (threads_.empty()) throw;
                log_warning("{} of {} threads read: {}", threads_.size(), threads, error.what());
                return;
            }
        }
    }

    void work(std::span<std::byte> bounce) {
        while (true) {
            ReadRequest request;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
                if (stopping_) return;
                request = queue_.front();
                queue_.pop_front();
            }
            ReadResult result{.tag = request.tag};
            try {
                result.transferred = transfer_(files_, request, bounce);
            } catch (...) {
                result.error = std::current_exception();
            }
            completed_(result);
        }
    }

    ReaderFiles files_;
    std::string label_;
    TransferFunction transfer_;
    Completed completed_;
    BounceBuffers bounce_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<ReadRequest> queue_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Reader> make_pread_reader(ReaderFiles files, size_t threads, Reader::Completed completed) {
    return std::make_unique<PoolReader>(std::move(files), std::max<size_t>(threads, 1), "pread", pread_request,
                                        std::move(completed));
}

std::unique_ptr<Reader> make_mmap_reader(ReaderFiles files, size_t threads, Reader::Completed completed) {
    std::vector<std::shared_ptr<const MappedFile>> mappings;
    for (uint32_t i = 0; i < files.size(); ++i) mappings.push_back(MappedFile::open(files[i].label()));
    auto transfer = [mappings = std::move(mappings)](const ReaderFiles& opened, const ReadRequest& request,
                                                     std::span<std::byte>) {
        const uint64_t copied = copy_mapped(*mappings[request.file], request);
        if (copied == request.bytes) {
            opened.done_with(request);
        } else {
            // pread says what is wrong: an errno, or that the file ends.
            read_buffered(opened, {request.file, request.offset + copied, request.bytes - copied,
                                   request.destination + copied, request.tag});
        }
        return request.bytes;
    };
    return std::make_unique<PoolReader>(std::move(files), std::max<size_t>(threads, 1), "mmap", std::move(transfer),
                                        std::move(completed));
}

}  // namespace sluice
