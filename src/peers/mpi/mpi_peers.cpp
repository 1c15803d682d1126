// Peers over MPI. A library of its own: links MPI and fmt, and nothing of Sluice.

#include <fmt/core.h>
#include <mpi.h>

#include <array>
#include <climits>
#include <mutex>
#include <string_view>
#include <utility>

#include "peers/mpi/module.h"
#include "peers/peers.h"
#include "sluice/error.h"

namespace sluice {

namespace {

// MPI is called by one thread at a time.
std::mutex calls;

void check(int status, std::string_view what, std::string_view whom) {
    if (status == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(status, text.data(), &length);
    throw Error(ErrorCode::kIo, fmt::format("{} {}: {}", what, whom, std::string_view(text.data(), length)));
}

class MpiDelivery : public Delivery {
  public:
    MpiDelivery(MPI_Request request, std::string peer) : request_(request), peer_(std::move(peer)) {}
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
        if (request_ == MPI_REQUEST_NULL) return true;
        int flag = 0;
        MPI_Status status;
        check(MPI_Test(&request_, &flag, &status), "a message of", peer_);
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

  private:
    mutable MPI_Request request_;
    mutable size_t bytes_ = 0;
    std::string peer_;
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
    int rank() const override { return rank_; }
    const std::vector<std::string>& hosts() const override { return hosts_; }

    DeliveryPtr send(int to, std::span<const std::byte> bytes) override {
        const int count = count_of(to, bytes.size());
        const std::lock_guard lock(calls);
        MPI_Request request = MPI_REQUEST_NULL;
        check(MPI_Isend(bytes.data(), count, MPI_BYTE, to, 0, MPI_COMM_WORLD, &request), "a message to", name(to));
        return std::make_shared<MpiDelivery>(request, name(to));
    }
    DeliveryPtr receive(int from, std::span<std::byte> bytes) override {
        const int count = count_of(from, bytes.size());
        const std::lock_guard lock(calls);
        MPI_Request request = MPI_REQUEST_NULL;
        check(MPI_Irecv(bytes.data(), count, MPI_BYTE, from, 0, MPI_COMM_WORLD, &request), "a message of", name(from));
        return std::make_shared<MpiDelivery>(request, name(from));
    }
    void barrier() override {
        const std::lock_guard lock(calls);
        check(MPI_Barrier(MPI_COMM_WORLD), "a message of", "all hosts");
    }
    void leave() override {
        const std::lock_guard lock(calls);
        MPI_Finalize();
    }

  private:
    int count_of(int peer, size_t bytes) const {
        if (bytes <= INT_MAX) return static_cast<int>(bytes);
        throw Error(ErrorCode::kUsage, fmt::format("a message of {} bytes with {} is too long for MPI; give a smaller "
                                                   "`chunk`",
                                                   bytes, name(peer)));
    }

    int rank_ = 0;
    std::vector<std::string> hosts_;
};

}  // namespace

}  // namespace sluice

extern "C" sluice::Peers* sluice_join_mpi() {
    return new sluice::MpiPeers();
}
