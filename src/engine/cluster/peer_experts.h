#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/cluster/expert_messages.h"
#include "engine/cluster/placement.h"
#include "experts/experts_elsewhere.h"
#include "peers/peers.h"
#include "sluice/peer_statistics.h"

namespace sluice {

// The experts that other machines hold, seen from the one that leads: one message to each owner that has work in a
// layer, and one back. An owner that does not answer in time, or answers nonsense, is lost, and with it the job: from
// then on everything fails with its host's name.
class PeerExperts : public ExpertsElsewhere {
  public:
    PeerExperts(std::unique_ptr<Peers> peers, Placement placement, double seconds);
    // Tells the others that it is over, unless one is lost.
    ~PeerExperts() override;

    bool holds(const ExpertKey& key) const override { return placement_.owner(key) != peers_->rank(); }
    void begin(const WorkElsewhere& work) override;
    void finish(const ResultsElsewhere& results) override;

    // Any thread.
    std::vector<PeerStatistics> statistics() const;
    // Why the job is over; empty while it is not.
    std::string lost() const;

  private:
    // With one owner.
    struct Exchange {
        std::vector<std::byte> request, reply;
        DeliveryPtr sent, received;  // null: nothing is under way
        uint64_t number = 0;
        RowsOfExpert rows_of;
    };

    Exchange& with(int rank) { return exchanges_[static_cast<size_t>(rank)]; }
    ExpertReply await(int rank, const std::function<void()>& meanwhile);
    void give_up();
    void check_not_lost() const;
    [[noreturn]] void lose(int rank, const std::string& why);

    const std::unique_ptr<Peers> peers_;
    const Placement placement_;
    const double seconds_;
    size_t columns_ = 0;
    uint64_t number_ = 0;
    std::vector<Exchange> exchanges_;  // by rank
    mutable std::mutex mutex_;         // of what follows
    std::vector<PeerStatistics> statistics_;
    std::string lost_;
};

}  // namespace sluice
