#include "server/metrics.h"

#include <algorithm>

namespace sluice::server {

namespace {

constexpr double kRateSeconds = 5;

const std::vector<double> kFirstTokenBounds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
const std::vector<double> kTokenBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
const std::vector<double> kRequestBounds = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600};
const std::vector<double> kQueueBounds = {0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800};

}  // namespace

void Histogram::add(double value) {
    const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
    ++counts_[static_cast<size_t>(bucket)];
    sum_ += value;
}

Metrics::Metrics()
    : first_token_(kFirstTokenBounds), token_(kTokenBounds), request_(kRequestBounds), queue_(kQueueBounds) {}

void Metrics::request(const std::string& endpoint, int status) {
    const std::lock_guard lock(mutex_);
    ++totals_.requests;
    ++requests_[{endpoint, status}];
}

void Metrics::cancelled() {
    const std::lock_guard lock(mutex_);
    ++totals_.cancelled;
}

void Metrics::prompt(int64_t evaluated, int64_t cached) {
    const std::lock_guard lock(mutex_);
    totals_.prompt_tokens += evaluated;
    totals_.cached_tokens += cached;
}

void Metrics::generated(int64_t tokens) {
    const std::lock_guard lock(mutex_);
    totals_.generated_tokens += tokens;
}

void Metrics::masked(double seconds) {
    const std::lock_guard lock(mutex_);
    totals_.mask_seconds += seconds;
}

void Metrics::step(double seconds, bool prefilling, int64_t prefilled) {
    const std::lock_guard lock(mutex_);
    (prefilling ? totals_.prefill_seconds : totals_.decode_seconds) += seconds;
    prefilled_ += prefilled;
}

void Metrics::first_token_seconds(double seconds) {
    const std::lock_guard lock(mutex_);
    first_token_.add(seconds);
}

void Metrics::token_seconds(double seconds) {
    const std::lock_guard lock(mutex_);
    token_.add(seconds);
}

void Metrics::request_seconds(double seconds) {
    const std::lock_guard lock(mutex_);
    request_.add(seconds);
}

void Metrics::queue_seconds(double seconds) {
    const std::lock_guard lock(mutex_);
    queue_.add(seconds);
}

ServerTotals Metrics::totals() const {
    const std::lock_guard lock(mutex_);
    return totals_;
}

ServerRates Metrics::rates(uint64_t bytes_read) {
    const std::lock_guard lock(mutex_);
    const Sample now{.at = uptime_.seconds(),
                     .prefilled = prefilled_,
                     .generated = totals_.generated_tokens,
                     .prefill_seconds = totals_.prefill_seconds,
                     .decode_seconds = totals_.decode_seconds,
                     .bytes_read = bytes_read};
    // The oldest that is kept is the first beyond the window.
    while (samples_.size() > 1 && samples_[1].at < now.at - kRateSeconds) samples_.pop_front();
    if (samples_.empty() || now.at > samples_.back().at + 0.1) samples_.push_back(now);
    const Sample& then = samples_.front();
    const auto per = [](double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; };
    return {.prefill_tokens_per_s =
                per(static_cast<double>(now.prefilled - then.prefilled), now.prefill_seconds - then.prefill_seconds),
            .decode_tokens_per_s =
                per(static_cast<double>(now.generated - then.generated),
                    now.prefill_seconds + now.decode_seconds - then.prefill_seconds - then.decode_seconds),
            .bytes_per_s = per(static_cast<double>(now.bytes_read - then.bytes_read), now.at - then.at)};
}

}  // namespace sluice::server
