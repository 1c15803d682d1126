#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/start_thread.h"
#include "experts/reader.h"

namespace sluice {

namespace {

// One thread owns the ring: it fills the queue up to `depth` pieces, waits for any to finish, and answers. Others hand
// requests over through `incoming_` and an eventfd that the ring itself reads.
class UringReader final : public Reader {
  public:
    UringReader(ReaderFiles files, io_uring ring, int wake, size_t depth, bool registered, Completed completed)
        : files_(std::move(files)),
          ring_(ring),
          wake_(wake),
          depth_(depth),
          registered_(registered),
          completed_(std::move(completed)),
          bounce_(depth, files_.direct()),
          pieces_(depth) {
        for (size_t i = depth; i > 0; --i) free_pieces_.push_back(i - 1);
        try {
            thread_ = start_thread([this] { work(); });
        } catch (...) {
            close_ring();
            throw;
        }
    }

    ~UringReader() override {
        {
            const std::scoped_lock lock(mutex_);
            stopping_ = true;
        }
        poke();
        thread_.join();
        close_ring();
    }

    void submit(std::span<const ReadRequest> requests) override {
        {
            const std::scoped_lock lock(mutex_);
            incoming_.insert(incoming_.end(), requests.begin(), requests.end());
        }
        poke();
    }

    void cancel(uint64_t tag) override {
        size_t cancelled = 0;
        {
            const std::scoped_lock lock(mutex_);
            cancelled = std::erase_if(incoming_, [&](const ReadRequest& request) { return request.tag == tag; });
        }
        for (size_t i = 0; i < cancelled; ++i) completed_({.tag = tag, .cancelled = true});
    }

    std::string name() const override { return fmt::format("io_uring depth {}", depth_); }
    bool direct() const override { return files_.direct(); }

  private:
    static constexpr uint64_t kWakeEvent = UINT64_MAX;
    static constexpr uint64_t kLongestRead = 1 << 30;  // what one entry of the queue can say
    static constexpr int kMostRetries = 100;           // of EAGAIN and EINTR without progress

    // A request that has started; answered when its last piece is done.
    struct Started {
        ReadRequest request;
        uint64_t handed_out = 0;  // bytes given to pieces
        size_t open_pieces = 0;
        ReadResult result;
    };

    struct Piece {
        Started* of = nullptr;
        uint64_t begin = 0;  // of the wanted bytes, in the request
        uint64_t bytes = 0;
        Transfer transfer;
        uint64_t got = 0;  // of transfer.bytes
        int retries = 0;
    };

    void close_ring() {
        ::io_uring_queue_exit(&ring_);
        ::close(wake_);
    }

    void poke() const {
        const uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
    }

    void work() {
        arm_wake();
        while (true) {
            if (!start_pieces()) return;
            const int error = ::io_uring_submit_and_wait(&ring_, 1);
            if (error < 0 && error != -EINTR && error != -EAGAIN && error != -EBUSY) std::this_thread::yield();
            io_uring_cqe* entry = nullptr;
            while (::io_uring_peek_cqe(&ring_, &entry) == 0) {
                const uint64_t data = entry->user_data;
                const int result = entry->res;
                ::io_uring_cqe_seen(&ring_, entry);
                if (data == kWakeEvent) {
                    arm_wake();
                } else {
                    piece_done(static_cast<size_t>(data), result);
                }
            }
        }
    }

    void arm_wake() {
        io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
        ::io_uring_prep_read(entry, wake_, &wake_count_, sizeof(wake_count_), 0);
        entry->user_data = kWakeEvent;
    }

    // Fills free places of the queue; false when the reader stops and nothing is in flight any more.
    bool start_pieces() {
        while (!free_pieces_.empty()) {
            if (current_ == nullptr && !next_request()) break;
            start_piece();
        }
        if (!stop_seen_ || free_pieces_.size() < depth_) return true;
        return false;
    }

    bool next_request() {
        std::deque<ReadRequest> left;
        {
            const std::scoped_lock lock(mutex_);
            if (stopping_) {
                stop_seen_ = true;
                left.swap(incoming_);
            } else if (!incoming_.empty()) {
                current_ = new Started{.request = incoming_.front(), .result = {.tag = incoming_.front().tag}};
                incoming_.pop_front();
                return true;
            }
        }
        for (const ReadRequest& request : left) completed_({.tag = request.tag, .cancelled = true});
        return false;
    }

    void start_piece() {
        const ReadRequest& request = current_->request;
        Piece& piece = pieces_[free_pieces_.back()];
        const uint64_t offset = request.offset + current_->handed_out;
        piece.of = current_;
        piece.begin = current_->handed_out;
        std::byte* const to = request.destination + piece.begin;
        piece.bytes = std::min(request.bytes - piece.begin, kLongestRead);
        piece.transfer = make_transfer(offset, piece.bytes, to, files_.direct());
        if (piece.transfer.bounced) {
            // Up to a page border, so that only the first piece starts off one.
            piece.bytes = std::min(piece.bytes, BounceBuffers::kBytes - offset % kPageBytes);
            piece.transfer = make_transfer(offset, piece.bytes, to, files_.direct());
            piece.transfer.bounced = true;
        }
        piece.got = 0;
        piece.retries = 0;
        const size_t index = free_pieces_.back();
        free_pieces_.pop_back();
        current_->handed_out += piece.bytes;
        ++current_->open_pieces;
        if (current_->handed_out == request.bytes) current_ = nullptr;
        queue_read(index);
    }

    void queue_read(size_t index) {
        const Piece& piece = pieces_[index];
        const ReadRequest& request = piece.of->request;
        std::byte* to = piece.transfer.bounced ? bounce_.at(index).data() : request.destination + piece.begin;
        io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
        const int file = registered_ ? static_cast<int>(request.file) : files_[request.file].descriptor();
        ::io_uring_prep_read(entry, file, to + piece.got, static_cast<unsigned>(piece.transfer.bytes - piece.got),
                             piece.transfer.offset + piece.got);
        if (registered_) entry->flags |= IOSQE_FIXED_FILE;
        entry->user_data = index;
    }

    // The piece again, through the page cache and on this thread: only where direct reads are refused.
    void read_buffered(size_t index) {
        Piece& piece = pieces_[index];
        const ReadRequest& request = piece.of->request;
        files_.give_up_direct(files_[request.file].label());
        std::byte* to = piece.transfer.bounced ? bounce_.at(index).data() : request.destination + piece.begin;
        try {
            const File& file = files_.buffered(request.file);
            piece.got = file.read_up_to(piece.transfer.offset, {to, piece.transfer.bytes});
        } catch (...) {
            piece.of->result.error = std::current_exception();
        }
    }

    void piece_done(size_t index, int result) {
        if (result == -EINVAL && files_.opened_direct()) {
            read_buffered(index);
            result = 0;
        }
        Piece& piece = pieces_[index];
        const Transfer& transfer = piece.transfer;
        const File& file = files_[piece.of->request.file];
        const bool again = (result == -EAGAIN || result == -EINTR) && ++piece.retries <= kMostRetries;
        if (result > 0) piece.got += static_cast<uint64_t>(result);
        const bool wanted = piece.got >= transfer.skip + piece.bytes;
        // A direct read may not go on from an end that is no multiple of a block; that only happens where the file
        // ends.
        const bool ended = result == 0 || (files_.direct() && piece.got % kPageBytes != 0);
        if (again || (result > 0 && !wanted && !ended)) {
            queue_read(index);
            return;
        }
        Started* started = piece.of;
        started->result.transferred += piece.got;
        if (!started->result.error && result < 0) {
            started->result.error = read_error(file, transfer.offset + piece.got, -result);
        } else if (!started->result.error && !wanted) {
            started->result.error = short_read_error(file, transfer.offset + piece.got, started->request);
        }
        if (wanted && transfer.bounced) {
            std::memcpy(started->request.destination + piece.begin, bounce_.at(index).data() + transfer.skip,
                        piece.bytes);
        }
        free_pieces_.push_back(index);
        if (--started->open_pieces > 0 || started == current_) return;
        if (!started->result.error) files_.done_with(started->request);
        completed_(started->result);
        delete started;
    }

    ReaderFiles files_;
    io_uring ring_;
    int wake_;
    size_t depth_;
    bool registered_;
    Completed completed_;
    BounceBuffers bounce_;
    std::vector<Piece> pieces_;
    std::vector<size_t> free_pieces_;
    Started* current_ = nullptr;  // has pieces that were not handed out yet
    bool stop_seen_ = false;
    uint64_t wake_count_ = 0;
    std::mutex mutex_;
    std::deque<ReadRequest> incoming_;
    bool stopping_ = false;
    std::thread thread_;
};

// One page read through the ring, because some containers let a ring be made and then refuse to use it.
bool ring_reads(io_uring& ring, const File& file, bool registered, std::string& why) {
    const PageMemory page(kPageBytes);
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_read(entry, registered ? 0 : file.descriptor(), page.data(), kPageBytes, 0);
    if (registered) entry->flags |= IOSQE_FIXED_FILE;
    int result = ::io_uring_submit(&ring);
    io_uring_cqe* done = nullptr;
    if (result >= 0) result = ::io_uring_wait_cqe(&ring, &done);
    if (result == 0) {
        result = done->res;
        ::io_uring_cqe_seen(&ring, done);
    }
    if (result < 0) why = fmt::format("a first read: {}", errno_text(-result));
    return result >= 0;
}

}  // namespace

std::unique_ptr<Reader> make_uring_reader(ReaderFiles& files, size_t depth, Reader::Completed completed,
                                          std::string& why) {
    depth = std::max<size_t>(depth, 1);
    io_uring ring{};
    // Two entries more than pieces: the eventfd's read, and one to spare.
    if (const int error = ::io_uring_queue_init(static_cast<unsigned>(depth + 2), &ring, 0); error < 0) {
        why = errno_text(-error);
        return nullptr;
    }
    std::vector<int> descriptors;
    for (uint32_t i = 0; i < files.size(); ++i) descriptors.push_back(files[i].descriptor());
    const bool registered =
        ::io_uring_register_files(&ring, descriptors.data(), static_cast<unsigned>(descriptors.size())) == 0;
    const int wake = ::eventfd(0, EFD_CLOEXEC);
    if (wake < 0 || !ring_reads(ring, files[0], registered, why)) {
        if (wake >= 0) ::close(wake);
        ::io_uring_queue_exit(&ring);
        return nullptr;
    }
    return std::make_unique<UringReader>(std::move(files), ring, wake, depth, registered, std::move(completed));
}

}  // namespace sluice
