#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/cluster/expert_messages.h"
#include "engine/cluster/joining.h"
#include "engine/cluster/placement.h"
#include "experts/experts_elsewhere.h"
#include "experts/hot_list.h"
#include "peers/peers.h"
#include "sluice/peer_statistics.h"

namespace sluice {

// The experts that other machines hold, seen from the one that leads: one message to each owner that has work in a
// layer, and one back; of many rows, and where the owner has all of its experts in memory, two of half the rows, so
// that it computes the first while the second is on its way. An owner that does not answer in time, or answers
// nonsense, is lost, and with it the job: from then on everything fails with its host's name.
class PeerExperts : public ExpertsElsewhere {
  public:
    PeerExperts(std::unique_ptr<Peers> peers, Division division, double seconds);
    // Tells the others that it is over, unless one is lost.
    ~PeerExperts() override;

    bool holds(const ExpertKey& key) const override { return !division_.placement.holds(peers_->rank(), key); }
    std::vector<bool> choose(int layer, const RowsOfExpert& wanted) override;
    void begin(const WorkElsewhere& work) override;
    void finish(const ResultsElsewhere& results) override;

    // Any thread.
    std::vector<PeerStatistics> statistics() const;
    HotList used() const;  // by all machines
    // Why the job is over; empty while it is not.
    std::string lost() const;
    // The process is about to end: from now on no owner is waited for for longer than `seconds`.
    void hurry(double seconds);

  private:
    // A request to one owner, and its reply.
    struct Exchange {
        std::vector<std::byte> request, reply;
        DeliveryPtr sent, received;  // null: nothing is under way
        uint64_t number = 0;
        RowsOfExpert rows_of;
    };
    using Halves = std::array<Exchange, 2>;  // the second one is used where the rows are parted

    Halves& with(int rank) { return exchanges_[static_cast<size_t>(rank)]; }
    int computing(const ExpertKey& key) const;
    void write(int rank, const WorkElsewhere& work);
    void send(int rank, Exchange& exchange);
    void take(int rank, Exchange& exchange, const ResultsElsewhere& results);
    void wait_until_there(int rank, const Exchange& exchange, const std::function<void()>& meanwhile);
    ExpertReply await(int rank, Exchange& exchange, const std::function<void()>& meanwhile);
    ExpertReply read(int rank, const Exchange& exchange, std::span<const std::byte> bytes);
    bool overdue(double waited) const;
    void give_up();
    void check_not_lost() const;
    [[noreturn]] void lose(int rank, const std::string& why);

    const std::unique_ptr<Peers> peers_;
    const Division division_;
    const double seconds_;
    size_t columns_ = 0;
    uint64_t number_ = 0;
    int chosen_layer_ = -1;
    std::vector<int> chosen_;        // by expert: who computes it in that layer; -1: nobody asked
    std::vector<Halves> exchanges_;  // by rank
    mutable std::mutex mutex_;       // of what follows
    std::vector<PeerStatistics> statistics_;
    HotList used_;
    std::string lost_;
    struct Hurry {
        double seconds;
        Stopwatch since = {};
    };
    std::optional<Hurry> hurry_;
};

}  // namespace sluice
