// Peers over MPI. A library of its own: links MPI and fmt, and nothing of Sluice.

#include <fmt/core.h>
#include <mpi.h>

#include <array>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "peers/mpi/module.h"
#include "peers/peers.h"
#include "sluice/error.h"

namespace sluice {

namespace {

// MPI is called by one thread at a time.
std::mutex calls;

std::string text_of(int status) {
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(status, text.data(), &length);
    return {text.data(), static_cast<size_t>(length)};
}

void check(int status, std::string_view what, std::string_view whom) {
    if (status != MPI_SUCCESS) throw Error(ErrorCode::kIo, fmt::format("{} {}: {}", what, whom, text_of(status)));
}

class MpiDelivery : public Delivery {
  public:
    MpiDelivery(MPI_Request request, size_t most_bytes, std::string peer)
        : request_(request), most_bytes_(most_bytes), peer_(std::move(peer)) {}
    // A message nobody waits for any more. Its memory may be gone by the time it comes, so it is called off.
    ~MpiDelivery() override {
        const std::lock_guard lock(calls);
        int ended = 0;
        MPI_Finalized(&ended);
        if (ended != 0 || request_ == MPI_REQUEST_NULL) return;
        MPI_Cancel(&request_);
        MPI_Request_free(&request_);
    }
    MpiDelivery(const MpiDelivery&) = delete;

    bool done() const override {
        const std::lock_guard lock(calls);
        if (!failure_.empty()) throw Error(ErrorCode::kIo, failure_);
        if (request_ == MPI_REQUEST_NULL) return true;
        int flag = 0;
        MPI_Status status;
        if (const int error = MPI_Test(&request_, &flag, &status); error != MPI_SUCCESS) {
            failure_ = fmt::format("a message of {}: {}", peer_, text_of(error));
            throw Error(ErrorCode::kIo, failure_);
        }
        if (flag == 0) return false;
        int count = 0;
        MPI_Get_count(&status, MPI_BYTE, &count);
        bytes_ = count < 0 ? 0 : static_cast<size_t>(count);
        return true;
    }
    void wait() override {
        while (!done()) {
        }
    }
    size_t bytes() const override { return bytes_; }
    size_t most_bytes() const { return most_bytes_; }

  private:
    mutable MPI_Request request_;
    mutable size_t bytes_ = 0;
    mutable std::string failure_;
    const size_t most_bytes_;
    const std::string peer_;
};

// MPI carries long messages on only while it is called: this calls it for them, beside whoever computes.
class Carrier {
  public:
    ~Carrier() { stop(); }
    void carry(std::weak_ptr<MpiDelivery> delivery) {
        const std::lock_guard lock(mutex_);
        under_way_.push_back(std::move(delivery));
        if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
        changed_.notify_one();
    }
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        changed_.notify_one();
        if (thread_.joinable()) thread_.join();
    }

  private:
    // While a buffer of the network's is far from full.
    static constexpr auto kPace = std::chrono::microseconds(250);

    static bool arrived(const std::weak_ptr<MpiDelivery>& weak) {
        const std::shared_ptr<MpiDelivery> delivery = weak.lock();
        try {
            return delivery == nullptr || delivery->done();
        } catch (const Error&) {
            return true;  // whoever waits for it is told
        }
    }
    void run() {
        std::unique_lock lock(mutex_);
        while (!stopping_) {
            std::erase_if(under_way_, arrived);
            if (under_way_.empty()) {
                changed_.wait(lock, [this] { return stopping_ || !under_way_.empty(); });
            } else {
                changed_.wait_for(lock, kPace);
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::weak_ptr<MpiDelivery>> under_way_;
    bool stopping_ = false;
    std::thread thread_;
};

class MpiPeers : public Peers {
  public:
    MpiPeers() {
        int provided = 0, size = 0;
        check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI", "does not start");
        if (provided < MPI_THREAD_SERIALIZED) throw Error(ErrorCode::kUnsupported, "this MPI is for one thread alone");
        MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
        MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
        MPI_Comm_size(MPI_COMM_WORLD, &size);
        using Name = std::array<char, MPI_MAX_PROCESSOR_NAME>;
        Name mine{};
        int length = 0;
        MPI_Get_processor_name(mine.data(), &length);
        std::vector<Name> names(static_cast<size_t>(size));
        check(MPI_Allgather(mine.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names.data(), MPI_MAX_PROCESSOR_NAME,
                            MPI_CHAR, MPI_COMM_WORLD),
              "the names of", "all hosts");
        for (const Name& name : names) hosts_.emplace_back(name.data());
    }
    // Once this process has said what it has to say: launchers then give the status 1, whatever they end others with.
    ~MpiPeers() override {
        if (!left_) std::atexit([] { MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE); });
    }
    int rank() const override { return rank_; }
    const std::vector<std::string>& hosts() const override { return hosts_; }

    DeliveryPtr send(int to, std::span<const std::byte> bytes) override {
        const int count = count_of(to, bytes.size());
        const std::lock_guard lock(calls);
        MPI_Request request = MPI_REQUEST_NULL;
        check(MPI_Isend(bytes.data(), count, MPI_BYTE, to, 0, MPI_COMM_WORLD, &request), "a message to", name(to));
        return std::make_shared<MpiDelivery>(request, bytes.size(), name(to));
    }
    DeliveryPtr receive(int from, std::span<std::byte> bytes) override {
        const int count = count_of(from, bytes.size());
        const std::lock_guard lock(calls);
        MPI_Request request = MPI_REQUEST_NULL;
        check(MPI_Irecv(bytes.data(), count, MPI_BYTE, from, 0, MPI_COMM_WORLD, &request), "a message of", name(from));
        return std::make_shared<MpiDelivery>(request, bytes.size(), name(from));
    }
    void carry_on(const DeliveryPtr& delivery) override {
        auto carried = std::static_pointer_cast<MpiDelivery>(delivery);
        if (carried->most_bytes() > kLongBytes) carrier_.carry(std::move(carried));
    }
    void barrier() override {
        const std::lock_guard lock(calls);
        check(MPI_Barrier(MPI_COMM_WORLD), "a message of", "all hosts");
    }
    void leave() override {
        carrier_.stop();
        const std::lock_guard lock(calls);
        MPI_Finalize();
        left_ = true;
    }

  private:
    // Shorter ones leave at once.
    static constexpr size_t kLongBytes = 64 << 10;

    int count_of(int peer, size_t bytes) const {
        if (bytes <= INT_MAX) return static_cast<int>(bytes);
        throw Error(ErrorCode::kUsage, fmt::format("a message of {} bytes with {} is too long for MPI; give a smaller "
                                                   "`chunk`",
                                                   bytes, name(peer)));
    }

    int rank_ = 0;
    bool left_ = false;
    std::vector<std::string> hosts_;
    Carrier carrier_;
};

}  // namespace

}  // namespace sluice

extern "C" sluice::Peers* sluice_join_mpi() {
    return new sluice::MpiPeers();
}
