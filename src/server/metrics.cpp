#include "server/metrics.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/memory.h"

namespace sluice::server {

namespace {

constexpr double kRateSeconds = 5;

const std::vector<double> kFirstTokenBounds = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
const std::vector<double> kTokenBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
const std::vector<double> kRequestBounds = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600};
const std::vector<double> kQueueBounds = {0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800};

// A label's value, with what would end it escaped.
std::string label(std::string_view value) {
    std::string out;
    for (const char c : value) {
        if (c == '\\' || c == '"') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

// The text as it grows: a family's head, then its lines.
class Page {
  public:
    void family(const std::string& name, std::string_view kind, std::string_view help) {
        text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, kind);
    }
    void line(const std::string& name, double value) { text_ += fmt::format("{} {}\n", name, value); }
    void one(const std::string& name, std::string_view kind, std::string_view help, double value) {
        family(name, kind, help);
        line(name, value);
    }
    void raw(const std::string& text) { text_ += text; }
    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

}  // namespace

void Histogram::add(double value) {
    const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
    ++counts_[static_cast<size_t>(bucket)];
    sum_ += value;
}

std::string Histogram::prometheus(const std::string& name) const {
    std::string text;
    uint64_t count = 0;
    for (size_t i = 0; i < bounds_.size(); ++i) {
        count += counts_[i];
        text += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, bounds_[i], count);
    }
    count += counts_.back();
    return text + fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, count, sum_);
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

std::string Metrics::prometheus(const Engine* engine, const ServerGauges& gauges) const {
    const EngineStatistics statistics = engine ? engine->statistics() : EngineStatistics();
    const std::lock_guard lock(mutex_);
    Page page;
    page.family("sluice_requests_total", "counter", "Requests answered, by endpoint and status.");
    for (const auto& [key, count] : requests_) {
        page.line(fmt::format("sluice_requests_total{{endpoint=\"{}\",status=\"{}\"}}", label(key.first), key.second),
                  static_cast<double>(count));
    }
    const auto counter = [&](const std::string& name, std::string_view help, double value) {
        page.one("sluice_" + name + "_total", "counter", help, value);
    };
    const auto number = [](auto value) { return static_cast<double>(value); };
    counter("requests_cancelled", "Requests whose client went away.", number(totals_.cancelled));
    counter("prompt_tokens", "Tokens of prompts that were evaluated.", number(totals_.prompt_tokens));
    counter("cached_prompt_tokens", "Tokens of prompts that a cache supplied.", number(totals_.cached_tokens));
    counter("generated_tokens", "Tokens generated.", number(totals_.generated_tokens));
    page.family("sluice_expert_hits_total", "counter", "Experts that were in memory when they were needed, by tier.");
    page.line("sluice_expert_hits_total{tier=\"host\"}", number(statistics.experts.hits));
    counter("expert_misses", "Experts that had to be read.", number(statistics.experts.misses));
    counter("expert_bytes_read", "Bytes of experts read from the drive.", number(statistics.experts.bytes_read));
    counter("stall_seconds", "Time that the forward pass waited for the drive.", statistics.experts.stall_seconds);
    counter("mask_seconds", "Time spent on which tokens a grammar allows.", totals_.mask_seconds);
    counter("decode_seconds", "Time of steps that only decoded.", totals_.decode_seconds);
    counter("prefill_seconds", "Time of steps that evaluated prompts.", totals_.prefill_seconds);
    const auto gauge = [&](const std::string& name, std::string_view help, double value) {
        page.one("sluice_" + name, "gauge", help, value);
    };
    gauge("requests_running", "Requests being worked on.", number(gauges.running));
    gauge("requests_waiting", "Requests waiting for a place.", number(gauges.waiting));
    gauge("resident_memory_bytes", "Memory that this process holds.", number(resident_bytes()));
    gauge("memory_limit_bytes", "The ceiling of that.", engine ? number(engine->info().ram_bytes) : 0);
    gauge("expert_cache_bytes", "Memory of the experts' cache.", number(statistics.cache_bytes));
    page.family("sluice_build_info", "gauge", "Always 1; its labels say what runs.");
    page.line(fmt::format("sluice_build_info{{version=\"{}\",model=\"{}\"}}", label(gauges.version),
                          label(engine ? engine->info().model_name : "")),
              1);
    const auto histogram = [&](const std::string& name, std::string_view help, const Histogram& values) {
        page.family("sluice_" + name, "histogram", help);
        page.raw(values.prometheus("sluice_" + name));
    };
    histogram("time_to_first_token_seconds", "From a request to its first token.", first_token_);
    histogram("time_per_output_token_seconds", "From a token to the next of its sequence.", token_);
    histogram("request_duration_seconds", "From a request to the end of its answer.", request_);
    histogram("queue_seconds", "From a request to its place.", queue_);
    return page.take();
}

}  // namespace sluice::server
