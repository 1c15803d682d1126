#include "engine/cluster/peer_experts.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace sluice {

PeerExperts::PeerExperts(std::unique_ptr<Peers> peers, Placement placement, double seconds)
    : peers_(std::move(peers)),
      placement_(std::move(placement)),
      seconds_(seconds),
      exchanges_(static_cast<size_t>(peers_->size())),
      statistics_(exchanges_.size()) {
    const std::vector<uint16_t>& owners = placement_.owners();
    for (int rank = 0; rank < peers_->size(); ++rank) {
        PeerStatistics& each = statistics_[static_cast<size_t>(rank)];
        each.name = peers_->name(rank);
        each.share = static_cast<double>(std::ranges::count(owners, rank)) / static_cast<double>(owners.size());
    }
}

PeerExperts::~PeerExperts() {
    if (!lost().empty()) return;
    try {
        give_up();
        for (int rank = 0; rank < peers_->size(); ++rank) {
            if (rank == peers_->rank()) continue;
            write_end(++number_, with(rank).request);
            const DeliveryPtr sent = peers_->send(rank, with(rank).request);
            if (!wait_for(*sent, seconds_)) lose(rank, "does not take the end of the job");
        }
        peers_->leave();
    } catch (const std::exception& error) {
        log_debug("peers: {}", error.what());
    }
}

void PeerExperts::begin(const WorkElsewhere& work) {
    check_not_lost();
    give_up();
    columns_ = work.columns;
    ++number_;
    for (int rank = 0; rank < peers_->size(); ++rank) {
        const auto owned = [&](const ExpertKey& key) { return placement_.owner(key) == rank; };
        const auto any = [&](int expert) { return owned({work.layer, expert}); };
        if (rank == peers_->rank() || std::ranges::none_of(work.rows_of.experts, any)) continue;
        Exchange& exchange = with(rank);
        write_request(number_, work, owned, exchange.rows_of, exchange.request);
        exchange.number = number_;
        exchange.reply.resize(reply_bytes(exchange.rows_of, work.columns));
        exchange.received = peers_->receive(rank, exchange.reply);
        exchange.sent = peers_->send(rank, exchange.request);
        const std::lock_guard lock(mutex_);
        PeerStatistics& counted = statistics_[static_cast<size_t>(rank)];
        ++counted.messages;
        counted.bytes_sent += exchange.request.size();
    }
}

ExpertReply PeerExperts::await(int rank, const std::function<void()>& meanwhile) {
    Exchange& exchange = with(rank);
    const Stopwatch watch;
    std::exception_ptr stopped;
    const auto ask = [&] {
        if (!meanwhile) return;
        try {
            meanwhile();
        } catch (...) {
            stopped = std::current_exception();
            throw;
        }
    };
    try {
        const bool came = wait_for(*exchange.received, seconds_, ask) && wait_for(*exchange.sent, seconds_, ask);
        if (!came) lose(rank, fmt::format("has not answered for {:.0f} s", seconds_));
    } catch (const Error& error) {
        if (stopped || !lost().empty()) throw;
        lose(rank, error.what());
    }
    const size_t bytes = exchange.received->bytes();
    exchange.sent = exchange.received = nullptr;
    try {
        const ExpertReply reply = read_reply(std::span(exchange.reply).first(bytes));
        const size_t expected =
            reply.error.empty() || !reply.failed.empty() ? exchange.rows_of.entries.size() * columns_ : 0;
        if (reply.number != exchange.number || reply.rows.size() != expected) {
            fail(ErrorCode::kIo, "a reply that was not asked for");
        }
        const std::lock_guard lock(mutex_);
        PeerStatistics& counted = statistics_[static_cast<size_t>(rank)];
        ++counted.messages;
        counted.bytes_received += bytes;
        counted.wait_seconds += watch.seconds();
        counted.experts = reply.counters.experts;
        counted.cache_bytes = reply.counters.cache_bytes;
        counted.busy_seconds = reply.counters.busy_seconds;
        return reply;
    } catch (const Error& error) {
        lose(rank, fmt::format("answered nonsense: {}", error.what()));
    }
}

void PeerExperts::finish(const ResultsElsewhere& results) {
    for (int rank = 0; rank < peers_->size(); ++rank) {
        if (with(rank).received == nullptr) continue;
        const ExpertReply reply = await(rank, results.meanwhile);
        const RowsOfExpert& rows_of = with(rank).rows_of;
        if (reply.rows.empty()) lose(rank, reply.error);
        for (size_t i = 0; i < rows_of.entries.size(); ++i) {
            results.take(rows_of.entries[i], reply.rows.subspan(i * columns_, columns_));
        }
        for (const int32_t failed : reply.failed) {
            const auto which = static_cast<size_t>(failed);
            if (which >= rows_of.experts.size()) lose(rank, "answered nonsense: it names an expert it was not asked");
            const Error error(ErrorCode::kIo, fmt::format("{}: {}", peers_->name(rank), reply.error));
            results.fail(rows_of.of(which), std::make_exception_ptr(error));
        }
    }
}

// Replies that nobody wants any more.
void PeerExperts::give_up() {
    for (int rank = 0; rank < peers_->size(); ++rank) {
        if (with(rank).received != nullptr) (void)await(rank, {});
    }
}

void PeerExperts::lose(int rank, const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) lost_ = fmt::format("{}: {}; the job ends", peers_->name(rank), why);
    throw Error(ErrorCode::kIo, lost_);
}

void PeerExperts::check_not_lost() const {
    const std::string why = lost();
    if (!why.empty()) throw Error(ErrorCode::kIo, why);
}

std::string PeerExperts::lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
}

std::vector<PeerStatistics> PeerExperts::statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
}

}  // namespace sluice
