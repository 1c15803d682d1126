// Messages between the machines of a job, who holds which expert, and what the leader does with those that do not
// answer as they should: over peers that are queues in memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "engine/cluster/expert_messages.h"
#include "engine/cluster/message.h"
#include "engine/cluster/peer_experts.h"
#include "engine/cluster/placement.h"
#include "sluice/error.h"
#include "sluice/expert_load.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kLayer = 0, kExperts = 8;
constexpr size_t kColumns = 4;
constexpr double kPatience = 0.05;

// Messages between two ranks, one after the other.
struct Mail {
    std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> queues;
};

class QueuedDelivery : public Delivery {
  public:
    // Without a place for it the message has gone already.
    QueuedDelivery(std::deque<std::vector<std::byte>>* from, std::span<std::byte> to) : from_(from), to_(to) {}
    bool done() const override {
        if (from_ == nullptr) return true;
        if (from_->empty()) return false;
        bytes_ = std::min(to_.size(), from_->front().size());
        std::copy_n(from_->front().begin(), bytes_, to_.begin());
        from_->pop_front();
        from_ = nullptr;
        return true;
    }
    void wait() override { EXPECT_TRUE(done()); }
    size_t bytes() const override { return bytes_; }

  private:
    mutable std::deque<std::vector<std::byte>>* from_;
    std::span<std::byte> to_;
    mutable size_t bytes_ = 0;
};

class QueuedPeers : public Peers {
  public:
    QueuedPeers(std::shared_ptr<Mail> mail, int rank) : mail_(std::move(mail)), rank_(rank) {}
    int rank() const override { return rank_; }
    const std::vector<std::string>& hosts() const override { return hosts_; }
    DeliveryPtr send(int to, std::span<const std::byte> bytes) override {
        mail_->queues[{rank_, to}].emplace_back(bytes.begin(), bytes.end());
        return std::make_shared<QueuedDelivery>(nullptr, std::span<std::byte>());
    }
    DeliveryPtr receive(int from, std::span<std::byte> bytes) override {
        return std::make_shared<QueuedDelivery>(&mail_->queues[{from, rank_}], bytes);
    }
    void barrier() override {}
    void leave() override {}

  private:
    std::shared_ptr<Mail> mail_;
    int rank_;
    std::vector<std::string> hosts_{"head", "left", "right"};
};

// Experts 0, 3, 6 are the leader's, 1, 4, 7 left's and 2, 5 right's.
Placement in_turns() {
    std::vector<uint16_t> owners;
    for (int i = 0; i < 2 * kExperts; ++i) owners.push_back(static_cast<uint16_t>(i % kExperts % 3));
    owners.resize(2 * owners.size(), Placement::kNobody);
    return {kExperts, owners};
}

class Cluster : public ::testing::Test {
  protected:
    Cluster()
        : experts_(
              std::make_unique<PeerExperts>(std::make_unique<QueuedPeers>(mail_, 0), Division{in_turns()}, kPatience)) {
        for (size_t i = 0; i < 3 * kColumns; ++i) x_.push_back(static_cast<float>(i));
        // Two of three rows chose expert 1, the last one expert 2.
        wanted_.add(1, std::vector<int32_t>{0, 4});
        wanted_.add(2, std::vector<int32_t>{5});
    }

    void begin() {
        experts_->begin({.layer = kLayer, .rows_of = wanted_, .rows = rows_, .x = x_, .columns = kColumns});
    }
    std::vector<std::byte> next_request(int rank) {
        auto& queue = mail_->queues[{0, rank}];
        EXPECT_EQ(queue.size(), 1U);
        std::vector<std::byte> bytes = std::move(queue.front());
        queue.clear();
        return bytes;
    }
    // Answers with each row read, negated.
    void answer(int rank, const ExpertReply& how = {}) {
        const std::vector<std::byte> bytes = next_request(rank);
        const ExpertRequest request = read_request(bytes);
        ExpertReply reply = how;
        if (reply.number == 0) reply.number = request.number;
        std::vector<std::byte> message;
        const std::span<std::byte> room = write_reply(reply, request.rows.size() * request.columns, message);
        for (size_t i = 0; i < request.rows.size(); ++i) {
            for (size_t c = 0; c < kColumns; ++c) {
                const float value = -request.x[static_cast<size_t>(request.rows[i]) * kColumns + c];
                std::memcpy(room.data() + (i * kColumns + c) * sizeof value, &value, sizeof value);
            }
        }
        mail_->queues[{rank, 0}].push_back(message);
    }
    void finish() {
        experts_->finish({.take = [&](int32_t entry, std::span<const float> row) { taken_[entry] = row[0]; },
                          .fail =
                              [&](std::span<const int32_t> entries, const std::exception_ptr& error) {
                                  failed_.assign(entries.begin(), entries.end());
                                  error_ = text(error);
                              },
                          .meanwhile = {}});
    }
    static std::string text(const std::exception_ptr& error) {
        try {
            std::rethrow_exception(error);
        } catch (const Error& each) {
            return each.what();
        }
    }
    template <typename Action>
    static std::string error_of(const Action& action) {
        try {
            action();
        } catch (const Error& error) {
            return error.what();
        }
        return {};
    }

    std::shared_ptr<Mail> mail_ = std::make_shared<Mail>();
    std::unique_ptr<PeerExperts> experts_;
    std::vector<float> x_;
    const std::vector<int32_t> rows_{0, 2, 2};  // of the entries
    RowsOfExpert wanted_;
    std::map<int32_t, float> taken_;
    std::vector<int32_t> failed_;
    std::string error_;
};

TEST_F(Cluster, EachOwnerGetsOneMessageWithTheRowsItReadsAndGivesThemBack) {
    begin();
    answer(1);
    answer(2);
    finish();
    EXPECT_EQ(taken_, (std::map<int32_t, float>{{0, -0.0F}, {4, -8.0F}, {5, -8.0F}}));
    const std::vector<PeerStatistics> statistics = experts_->statistics();
    EXPECT_EQ(statistics[1].messages, 2U);
    EXPECT_EQ(statistics[2].messages, 2U);
    EXPECT_TRUE(experts_->lost().empty());
}

TEST_F(Cluster, WhoeverHasNoWorkGetsNoMessage) {
    RowsOfExpert one;
    one.add(2, std::vector<int32_t>{5});
    const std::vector<int32_t> row{2};
    experts_->begin({.layer = kLayer, .rows_of = one, .rows = row, .x = x_, .columns = kColumns});
    EXPECT_TRUE((mail_->queues[{0, 1}].empty()));
    answer(2);
    finish();
    EXPECT_EQ(taken_.size(), 1U);
}

TEST_F(Cluster, HintsTravelWithTheRequestOfTheirOwner) {
    const std::vector<ExpertKey> hints{{1, 1}, {1, 2}, {1, 0}};
    experts_->begin({.layer = kLayer, .rows_of = wanted_, .rows = rows_, .x = x_, .columns = kColumns, .hints = hints});
    const std::vector<std::byte> bytes = next_request(1);
    EXPECT_THAT(read_request(bytes).hints, ElementsAre(ExpertKey{1, 1}));
}

TEST_F(Cluster, AnExpertThatCannotBeReadFailsItsEntriesAlone) {
    begin();
    const std::vector<int32_t> first{0};
    ExpertReply reply;
    reply.failed = first;
    reply.error = "model.safetensors: cut off";
    answer(1, reply);
    answer(2);
    finish();
    EXPECT_THAT(failed_, ElementsAre(0, 4));
    EXPECT_EQ(error_, "left: model.safetensors: cut off");
    EXPECT_TRUE(experts_->lost().empty());
}

// Rows 0 to 1 chose expert 1, the last ones expert 4; both are left's.
TEST_F(Cluster, ManyRowsGoInTwoHalvesToAnOwnerThatHasAllInMemory) {
    constexpr int kRows = 256;
    PeerExperts experts(std::make_unique<QueuedPeers>(mail_, 0), Division{in_turns(), {}, {true, true, false}},
                        kPatience);
    x_.resize(kRows * kColumns, 1.0F);
    RowsOfExpert wanted;
    std::vector<int32_t> rows;
    const auto want = [&](int expert, const std::vector<int32_t>& entries) {
        wanted.add(expert, entries);
        rows.insert(rows.end(), entries.begin(), entries.end());
    };
    want(1, {0, 1, 130});
    want(2, {3, 200});
    want(4, {254, 255});
    experts.begin({.layer = kLayer, .rows_of = wanted, .rows = rows, .x = x_, .columns = kColumns});
    auto& left = mail_->queues[{0, 1}];
    ASSERT_EQ(left.size(), 2U);
    const ExpertRequest first = read_request(left[0]), second = read_request(left[1]);
    EXPECT_EQ(first.following, left[1].size());
    EXPECT_EQ(second.following, 0U);
    EXPECT_THAT(first.rows_of.experts, ElementsAre(1));
    EXPECT_THAT(second.rows_of.experts, ElementsAre(1, 4));
    EXPECT_EQ(first.rows.size(), 2U);
    EXPECT_EQ(second.rows.size(), 3U);
    EXPECT_EQ((mail_->queues[{0, 2}].size()), 1U);
    for (const auto& [rank, number, entries] : {std::tuple{1, first.number, 2},
                                                {1, second.number, 3},
                                                {2, read_request(mail_->queues[{0, 2}][0]).number, 2}}) {
        std::vector<std::byte> message;
        write_reply({.number = number, .counters = {}}, static_cast<size_t>(entries) * kColumns, message);
        mail_->queues[{rank, 0}].push_back(message);
    }
    experts.finish(
        {.take = [&](int32_t entry, std::span<const float>) { ++taken_[entry]; }, .fail = {}, .meanwhile = {}});
    EXPECT_EQ(taken_.size(), 7U);
    EXPECT_EQ(experts.statistics()[1].messages, 4U);
}

TEST_F(Cluster, OneWhoIsToEndSoonWaitsForNobodyLong) {
    PeerExperts experts(std::make_unique<QueuedPeers>(mail_, 0), Division{in_turns()}, 1e6);
    experts.begin({.layer = kLayer, .rows_of = wanted_, .rows = rows_, .x = x_, .columns = kColumns});
    experts.hurry(kPatience);
    const auto finish = [&] {
        experts.finish({.take = [](int32_t, std::span<const float>) {}, .fail = {}, .meanwhile = {}});
    };
    EXPECT_THAT(error_of(finish), HasSubstr("left: does not answer any more"));
}

TEST_F(Cluster, WhatTwoHoldIsComputedByWhoHasLessToDo) {
    Placement placement = in_turns();
    placement.hold_twice({kLayer, 1}, 0);
    PeerExperts experts(std::make_unique<QueuedPeers>(mail_, 0), Division{placement}, kPatience);
    EXPECT_FALSE(experts.holds({kLayer, 1}));
    EXPECT_TRUE(experts.holds({kLayer, 2}));
    RowsOfExpert wanted;
    for (const int expert : {1, 4}) wanted.add(expert, std::vector<int32_t>{expert});
    EXPECT_THAT(experts.choose(kLayer, wanted), ElementsAre(false, true));
    for (const int expert : {6}) wanted.add(expert, std::vector<int32_t>{5, 7, 9, 11});
    EXPECT_THAT(experts.choose(kLayer, wanted), ElementsAre(true, true, false));
}

TEST_F(Cluster, WhatIsUsedIsKnownWhoeverHoldsIt) {
    (void)experts_->choose(kLayer, wanted_);
    EXPECT_THAT(experts_->used().hottest(), ElementsAre(ExpertKey{kLayer, 1}, ExpertKey{kLayer, 2}));
    EXPECT_EQ(experts_->used().share({kLayer, 2}), 1);
}

TEST_F(Cluster, SilenceLosesTheJobByName) {
    begin();
    answer(2);
    EXPECT_THAT(error_of([&] { finish(); }), HasSubstr("left: has not answered"));
    EXPECT_THAT(experts_->lost(), HasSubstr("left"));
    EXPECT_THAT(error_of([&] { begin(); }), HasSubstr("left: has not answered"));
}

TEST_F(Cluster, NonsenseLosesTheJobByName) {
    for (const size_t length : {size_t{3}, size_t{200}}) {
        PeerExperts experts(std::make_unique<QueuedPeers>(mail_, 0), Division{in_turns()}, kPatience);
        experts.begin({.layer = kLayer, .rows_of = wanted_, .rows = rows_, .x = x_, .columns = kColumns});
        mail_->queues[{1, 0}].push_back(std::vector<std::byte>(length, std::byte{0x5a}));
        const auto finish = [&] {
            experts.finish({.take = [](int32_t, std::span<const float>) {}, .fail = {}, .meanwhile = {}});
        };
        EXPECT_THAT(error_of(finish), HasSubstr("left: answered nonsense"));
        mail_->queues.clear();
    }
}

TEST_F(Cluster, AReplyToAnotherRequestIsNonsense) {
    begin();
    ExpertReply reply;
    reply.number = 77;
    answer(1, reply);
    EXPECT_THAT(error_of([&] { finish(); }), HasSubstr("left: answered nonsense: a reply that was not asked for"));
}

TEST_F(Cluster, WhatNobodyWaitedForIsTakenBeforeTheNextWork) {
    begin();
    answer(1);
    answer(2);
    begin();
    answer(1);
    answer(2);
    finish();
    EXPECT_EQ(taken_.size(), 3U);
}

TEST(Messages, EndingTooEarlyAreRefused) {
    std::vector<std::byte> bytes;
    write_end(7, bytes);
    EXPECT_TRUE(read_request(bytes).end);
    for (size_t length = 0; length < bytes.size(); length += 8) {
        EXPECT_THROW(read_request(std::span(bytes).first(length)), Error) << length;
    }
}

TEST(Messages, SizesBoundWhatIsWritten) {
    const MessageSizes sizes{.rows = 3, .columns = kColumns, .experts = kExperts, .experts_per_token = 2};
    RowsOfExpert all, mine;
    std::vector<int32_t> rows;
    for (int expert = 0; expert < 6; ++expert) {
        all.add(expert, std::vector<int32_t>{expert});
        rows.push_back(expert / 2);
    }
    const std::vector<float> x(3 * kColumns);
    std::vector<ExpertKey> hints;
    for (int expert = 0; expert < kExperts; ++expert) hints.push_back({2, expert});
    std::vector<std::byte> bytes;
    write_request(1, {.layer = 1, .rows_of = all, .rows = rows, .x = x, .columns = kColumns, .hints = hints},
                  {.experts = [](int) { return true; }, .hints = [](const ExpertKey&) { return true; }}, mine, bytes);
    EXPECT_LE(bytes.size(), sizes.request_bytes());
    const std::vector<int32_t> failed(6);
    ExpertReply reply;
    reply.failed = failed;
    reply.error = std::string(10000, 'x');
    write_reply(reply, 6 * kColumns, bytes);
    EXPECT_LE(bytes.size(), reply_bytes(mine, kColumns));
    EXPECT_LE(bytes.size(), sizes.reply_bytes());
}

constexpr uint64_t kGigabyte = 1 << 30;

TEST(Placement, WhoIsTwiceAsFastHoldsTwiceAsMuch) {
    const MachineRates fast{.cache_bytes = 100 * kGigabyte, .memory_bytes_per_s = 2e10, .drive_bytes_per_s = 1e9};
    const MachineRates slow{.cache_bytes = 100 * kGigabyte, .memory_bytes_per_s = 1e10, .drive_bytes_per_s = 1e9};
    const std::vector<double> shares = shares_of(std::vector{fast, slow}, {.bytes = 30 * kGigabyte});
    EXPECT_NEAR(shares[0], 2.0 / 3, 1e-6);
    EXPECT_NEAR(shares[1], 1.0 / 3, 1e-6);
}

// The small one reads a little from its drive while the large one is still busy with its memory.
TEST(Placement, WhatFitsInMemoryIsNotLeftOnADrive) {
    const MachineRates small{.cache_bytes = 2 * kGigabyte, .memory_bytes_per_s = 2e10, .drive_bytes_per_s = 1e8};
    const MachineRates large{.cache_bytes = 8 * kGigabyte, .memory_bytes_per_s = 1e10, .drive_bytes_per_s = 1e8};
    const std::vector<double> shares = shares_of(std::vector{small, large}, {.bytes = 10 * kGigabyte});
    constexpr double kSeconds = 0.8504, kMemorySeconds = 2.0 * kGigabyte / 2e10;
    EXPECT_NEAR(shares[0], 0.2 + (kSeconds - kMemorySeconds) * 1e8 / (10.0 * kGigabyte), 1e-4);
}

TEST(Placement, SlowKernelsAndLinksTakeOfAShare) {
    const MachineRates plain{.cache_bytes = 100 * kGigabyte, .memory_bytes_per_s = 2e10, .drive_bytes_per_s = 1e9};
    MachineRates slow = plain, far = plain;
    slow.kernel_bytes_per_s = 1e10;
    far.link_seconds = 1e-4;
    far.link_bytes_per_s = 1e8;
    const ExpertLoad load =
        expert_load({.layers = 40, .experts = 256, .experts_per_token = 8, .columns = 2048, .bytes = 30 * kGigabyte});
    EXPECT_EQ(load.exchanges, 1280);
    EXPECT_EQ(load.bytes_sent_each, 8192);
    EXPECT_NEAR(shares_of(std::vector{plain, slow}, load)[1], 1.0 / 3, 1e-6);
    const double share = shares_of(std::vector{plain, far}, load)[1];
    // Both take as long: the messages' time besides that of what is computed.
    const double bytes = 30.0 * kGigabyte, messages = 1280 * (2e-4 + 8192 / 1e8);
    EXPECT_NEAR((1 - share) * bytes / 2e10, messages + share * bytes * (1 / 2e10 + load.bytes_back / 1e8), 1e-3);
}

TEST(Placement, ALinkLeavesAQuarterOfAShare) {
    const MachineRates plain{.cache_bytes = 100 * kGigabyte, .memory_bytes_per_s = 2e10, .drive_bytes_per_s = 1e9};
    MachineRates far = plain;
    far.link_seconds = 10;
    far.link_bytes_per_s = 1;
    EXPECT_NEAR(shares_of(std::vector{plain, far}, {.bytes = kGigabyte, .exchanges = 100})[1], 0.125 / 1.125, 1e-6);
}

TEST(Placement, OfSharesEachHoldsWhatItHasAndAMissingOneIsNamed) {
    const auto thirds = [](size_t owner, const ExpertKey& key) {
        return static_cast<size_t>(key.layer * 16 + key.expert) % 3 == owner;
    };
    const Placement placement(2, 16, std::vector{0.2, 0.2, 0.6}, thirds);
    for (int expert = 0; expert < 16; ++expert) EXPECT_EQ(placement.owner({1, expert}), (16 + expert) % 3);
    try {
        Placement(2, 16, std::vector{0.5, 0.5}, thirds);
        ADD_FAILURE() << "placed";
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("layer 0, expert 2"));
    }
}

TEST(Placement, TheHottestAreHeldTwiceWhereThereIsRoom) {
    Placement placement(2, 8, std::vector{0.5, 0.5});
    const std::vector<ExpertKey> hottest{{0, 0}, {1, 3}, {0, 1}, {1, 1}, {0, 5}};
    hold_hottest_twice(placement, hottest, {100, 20}, [](int) { return 10; });
    EXPECT_EQ(placement.second({0, 0}), 1);  // the first in turn is machine 0's
    EXPECT_EQ(placement.second({1, 3}), 0);
    EXPECT_EQ(placement.second({0, 1}), 0);
    EXPECT_EQ(placement.second({1, 1}), 0);
    EXPECT_EQ(placement.second({0, 5}), Placement::kNobody);  // a quarter is held twice already
    EXPECT_EQ(placement.second({0, 2}), Placement::kNobody);
}

TEST(Placement, EveryLayerIsSharedOut) {
    const std::vector<double> shares{0.5, 0.25, 0.25};
    const Placement placement(3, 16, shares);
    for (int layer = 0; layer < 3; ++layer) {
        std::vector<int> held(3);
        for (int expert = 0; expert < 16; ++expert) ++held[static_cast<size_t>(placement.owner({layer, expert}))];
        EXPECT_THAT(held, ElementsAre(8, 4, 4));
    }
}

}  // namespace
}  // namespace sluice::testing
