#include "engine/cluster/peer_experts.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "sluice/peer_error.h"

namespace sluice {

namespace {

// For what nobody asks for any more when the job ends.
constexpr double kLastSeconds = 10;
// From so many rows on they are parted.
constexpr size_t kPartedRows = 128;

}  // namespace

PeerExperts::PeerExperts(std::unique_ptr<Peers> peers, Division division, double seconds)
    : peers_(std::move(peers)),
      division_(std::move(division)),
      seconds_(seconds),
      exchanges_(static_cast<size_t>(peers_->size())),
      statistics_(exchanges_.size()),
      used_(division_.placement.layers(), division_.placement.experts()) {
    for (int rank = 0; rank < peers_->size(); ++rank) {
        PeerStatistics& each = statistics_[static_cast<size_t>(rank)];
        each.name = peers_->name(rank);
        each.share = division_.placement.share(rank);
        if (!division_.rates.empty()) each.rates = division_.rates[static_cast<size_t>(rank)];
    }
}

PeerExperts::~PeerExperts() {
    if (!lost().empty()) return;
    hurry(kLastSeconds);
    try {
        give_up();
        for (int rank = 0; rank < peers_->size(); ++rank) {
            if (rank == peers_->rank()) continue;
            std::vector<std::byte>& request = with(rank).front().request;
            write_end(++number_, request);
            const DeliveryPtr sent = peers_->send(rank, request);
            if (!wait_for(*sent, seconds_)) lose(rank, "does not take the end of the job");
        }
        peers_->leave();
    } catch (const std::exception& error) {
        log_debug("peers: {}", error.what());
    }
}

std::vector<bool> PeerExperts::choose(int layer, const RowsOfExpert& wanted) {
    {
        const std::lock_guard lock(mutex_);
        used_.note(layer, wanted.experts);
    }
    const std::vector<int> ranks = division_.placement.divide(layer, wanted);
    chosen_layer_ = layer;
    chosen_.clear();
    std::vector<bool> elsewhere;
    for (size_t i = 0; i < ranks.size(); ++i) {
        const auto expert = static_cast<size_t>(wanted.experts[i]);
        if (expert >= chosen_.size()) chosen_.resize(expert + 1, -1);
        chosen_[expert] = ranks[i];
        elsewhere.push_back(ranks[i] != peers_->rank());
    }
    return elsewhere;
}

int PeerExperts::computing(const ExpertKey& key) const {
    const auto expert = static_cast<size_t>(key.expert);
    const bool chosen = key.layer == chosen_layer_ && expert < chosen_.size() && chosen_[expert] >= 0;
    return chosen ? chosen_[expert] : division_.placement.owner(key);
}

void PeerExperts::begin(const WorkElsewhere& work) {
    check_not_lost();
    give_up();
    columns_ = work.columns;
    std::vector<int> asked;
    for (int rank = 0; rank < peers_->size(); ++rank) {
        const auto any = [&](int expert) { return computing({work.layer, expert}) == rank; };
        if (rank == peers_->rank() || std::ranges::none_of(work.rows_of.experts, any)) continue;
        write(rank, work);
        asked.push_back(rank);
    }
    // First halves to all, then second ones.
    for (size_t half = 0; half < Halves().size(); ++half) {
        for (const int rank : asked) send(rank, with(rank)[half]);
    }
}

void PeerExperts::write(int rank, const WorkElsewhere& work) {
    const auto rows = static_cast<int32_t>(work.x.size() / work.columns);
    const bool parted = static_cast<size_t>(rows) >= kPartedRows && division_.in_memory(rank);
    // Hints travel with what is computed last: what is read for them is given up by the next request.
    bool last = !parted;
    const auto computes = [&](int expert) { return computing({work.layer, expert}) == rank; };
    const auto hinted = [&](const ExpertKey& key) { return last && division_.placement.owner(key) == rank; };
    RequestPart part{.experts = computes, .hints = hinted};
    const auto write_half = [&](Exchange& half) {
        half.number = ++number_;
        write_request(half.number, work, part, half.rows_of, half.request);
    };
    auto& [first, second] = with(rank);
    second.rows_of = {};
    if (parted) part.end_row = rows / 2;
    write_half(first);
    if (!parted) return;
    last = true;
    part.first_row = std::exchange(part.end_row, rows);
    write_half(second);
    if (first.rows_of.empty()) std::swap(first, second);
    if (!second.rows_of.empty()) announce(first.request, second.request.size());
}

void PeerExperts::send(int rank, Exchange& exchange) {
    if (exchange.rows_of.empty()) return;
    exchange.reply.resize(reply_bytes(exchange.rows_of, columns_));
    exchange.received = peers_->receive(rank, exchange.reply);
    exchange.sent = peers_->send(rank, exchange.request);
    peers_->carry_on(exchange.received);
    peers_->carry_on(exchange.sent);
    const std::lock_guard lock(mutex_);
    PeerStatistics& counted = statistics_[static_cast<size_t>(rank)];
    ++counted.messages;
    counted.bytes_sent += exchange.request.size();
}

void PeerExperts::wait_until_there(int rank, const Exchange& exchange, const std::function<void()>& meanwhile) {
    const Stopwatch watch;
    bool stopped = false;
    const auto ask = [&] {
        if (overdue(watch.seconds())) lose(rank, "does not answer any more");
        if (!meanwhile) return;
        stopped = true;
        meanwhile();
        stopped = false;
    };
    try {
        const bool came = wait_for(*exchange.received, seconds_, ask) && wait_for(*exchange.sent, seconds_, ask);
        if (!came) lose(rank, fmt::format("has not answered for {:.0f} s", seconds_));
    } catch (const Error& error) {
        if (stopped || !lost().empty()) throw;
        lose(rank, error.what());
    }
}

ExpertReply PeerExperts::read(int rank, const Exchange& exchange, std::span<const std::byte> bytes) {
    try {
        const ExpertReply reply = read_reply(bytes);
        const size_t expected =
            reply.error.empty() || !reply.failed.empty() ? exchange.rows_of.entries.size() * columns_ : 0;
        if (reply.number == exchange.number && reply.rows.size() == expected) return reply;
        fail(ErrorCode::kIo, "a reply that was not asked for");
    } catch (const Error& error) {
        lose(rank, fmt::format("answered nonsense: {}", error.what()));
    }
}

ExpertReply PeerExperts::await(int rank, Exchange& exchange, const std::function<void()>& meanwhile) {
    const Stopwatch watch;
    wait_until_there(rank, exchange, meanwhile);
    const double waited = watch.seconds();
    const size_t bytes = exchange.received->bytes();
    exchange.sent = exchange.received = nullptr;
    const ExpertReply reply = read(rank, exchange, std::span(exchange.reply).first(bytes));
    const std::lock_guard lock(mutex_);
    PeerStatistics& counted = statistics_[static_cast<size_t>(rank)];
    ++counted.messages;
    counted.bytes_received += bytes;
    counted.wait_seconds += waited;
    counted.experts = reply.counters.experts;
    counted.cache_bytes = reply.counters.cache_bytes;
    counted.busy_seconds = reply.counters.busy_seconds;
    return reply;
}

void PeerExperts::finish(const ResultsElsewhere& results) {
    for (size_t half = 0; half < Halves().size(); ++half) {
        for (int rank = 0; rank < peers_->size(); ++rank) {
            if (with(rank)[half].received != nullptr) take(rank, with(rank)[half], results);
        }
    }
}

void PeerExperts::take(int rank, Exchange& exchange, const ResultsElsewhere& results) {
    const ExpertReply reply = await(rank, exchange, results.meanwhile);
    const RowsOfExpert& rows_of = exchange.rows_of;
    if (reply.rows.empty()) {
        log_warning("{}: {}", peers_->name(rank), reply.error);
        lose(rank, "could not compute its experts");
    }
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

// Replies that nobody wants any more.
void PeerExperts::give_up() {
    for (size_t half = 0; half < Halves().size(); ++half) {
        for (int rank = 0; rank < peers_->size(); ++rank) {
            Exchange& exchange = with(rank)[half];
            if (exchange.received != nullptr) (void)await(rank, exchange, {});
        }
    }
}

void PeerExperts::lose(int rank, const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) lost_ = fmt::format("{}: {}; the job ends", peers_->name(rank), why);
    throw PeerError(lost_);
}

void PeerExperts::check_not_lost() const {
    const std::string why = lost();
    if (!why.empty()) throw PeerError(why);
}

std::string PeerExperts::lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
}

void PeerExperts::hurry(double seconds) {
    const std::lock_guard lock(mutex_);
    hurry_ = Hurry{.seconds = hurry_ ? std::min(seconds, hurry_->seconds) : seconds};
}

bool PeerExperts::overdue(double waited) const {
    const std::lock_guard lock(mutex_);
    return hurry_ && std::min(waited, hurry_->since.seconds()) > hurry_->seconds;
}

std::vector<PeerStatistics> PeerExperts::statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
}

HotList PeerExperts::used() const {
    const std::lock_guard lock(mutex_);
    return used_;
}

}  // namespace sluice
