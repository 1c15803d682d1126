#include "model/host_experts.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace sluice {

namespace {

// An expert of more rows is worth its copy.
constexpr size_t kMostRows = 8;

}  // namespace

size_t computed_on_host(const ExpertCosts& costs, size_t experts) {
    size_t count = 0;
    const auto seconds = [&](size_t mine) { return costs.begin + static_cast<double>(mine) * costs.compute; };
    while (count < experts && seconds(count + 1) < static_cast<double>(experts - count) * costs.copy) ++count;
    return count;
}

HostExperts::HostExperts(const Checkpoint& checkpoint, Backend& host, ExpertStore& store,
                         std::optional<ExpertCosts> costs)
    : backend_(host), store_(store), costs_(costs), workspace_(host) {
    Trunk trunk(checkpoint, host);
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        const MixtureConfig* mixture = checkpoint.config().mixture_of(layer);
        if (mixture != nullptr) layers_.emplace(layer, ExpertLayer(*mixture, layer, trunk));
    }
    thread_ = std::thread([this] { work(); });
}

HostExperts::~HostExperts() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
    let_go();
}

std::vector<bool> HostExperts::choose(int layer, const RowsOfExpert& wanted) {
    let_go();
    std::vector<bool> chosen(wanted.experts.size(), false);
    std::vector<size_t> places;
    for (size_t i = 0; i < wanted.experts.size(); ++i) {
        if (wanted.count(i) > kMostRows) continue;
        BelowLease lease = store_.lease_below({layer, wanted.experts[i]});
        if (lease.record == nullptr) continue;
        leases_.push_back(std::move(lease));
        places.push_back(i);
    }
    const size_t count = costs_ ? computed_on_host(*costs_, leases_.size()) : leases_.size();
    for (; leases_.size() > count; leases_.pop_back()) store_.release_below(leases_.back());
    for (size_t i = 0; i < count; ++i) chosen[places[i]] = true;
    return chosen;
}

void HostExperts::begin(const WorkElsewhere& work) {
    layer_ = work.layer;
    rows_of_ = work.rows_of;
    rows_.assign(work.rows.begin(), work.rows.end());
    x_.assign(work.x.begin(), work.x.end());
    columns_ = static_cast<int64_t>(work.columns);
    store_.count_reached(0, rows_of_.entries.size(), 0);
    {
        const std::lock_guard lock(mutex_);
        waiting_ = true;
    }
    changed_.notify_all();
}

void HostExperts::work() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return waiting_ || stopping_; });
        if (stopping_) return;
        lock.unlock();
        failure_ = nullptr;
        try {
            compute();
        } catch (...) {
            failure_ = std::current_exception();
        }
        lock.lock();
        waiting_ = false;
        changed_.notify_all();
    }
}

void HostExperts::compute() {
    workspace_.reset();
    std::vector<int32_t> numbers(rows_.size());
    std::iota(numbers.begin(), numbers.end(), 0);
    const ExpertLayer& experts = layers_.at(layer_);
    const auto entries = static_cast<int64_t>(rows_.size());
    const Tensor rows = workspace_.put(rows_);
    const Tensor out_rows = workspace_.put(numbers);
    GatedMlp operation{.x = workspace_.put(x_, columns_),
                       .groups = {},
                       .out = workspace_.take(entries, columns_),
                       .activation = experts.activation()};
    for (size_t i = 0; i < rows_of_.experts.size(); ++i) {
        const auto first = static_cast<int64_t>(rows_of_.first[i]), count = static_cast<int64_t>(rows_of_.count(i));
        operation.groups.push_back(experts.one(store_.layout(layer_), leases_[i].record, rows_of_.experts[i],
                                               rows.rows_at(first, count), out_rows.rows_at(first, count)));
    }
    backend_.run(operation);
    out_.resize(static_cast<size_t>(entries * columns_));
    backend_.download(operation.out.buffer, operation.out.offset, std::as_writable_bytes(std::span(out_)));
    backend_.wait();
}

void HostExperts::finish(const ResultsElsewhere& results) {
    let_go();
    if (failure_) return results.fail(rows_of_.entries, failure_);
    const auto columns = static_cast<size_t>(columns_);
    for (size_t i = 0; i < rows_of_.entries.size(); ++i) {
        results.take(rows_of_.entries[i], std::span(out_).subspan(i * columns, columns));
    }
}

// What was begun and not finished is computed all the same, unseen.
void HostExperts::let_go() {
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !waiting_ || stopping_; });
    }
    for (const BelowLease& lease : leases_) store_.release_below(lease);
    leases_.clear();
}

}  // namespace sluice
