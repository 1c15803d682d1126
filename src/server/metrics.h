#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "sluice/engine.h"

namespace sluice::server {

// Counts of values up to each bound, and of all.
class Histogram {
  public:
    explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
    void add(double value);
    std::string prometheus(const std::string& name) const;

  private:
    std::vector<double> bounds_;    // ascending
    std::vector<uint64_t> counts_;  // of each bucket alone
    double sum_ = 0;
};

// Totals since the server began.
struct ServerTotals {
    uint64_t requests = 0, cancelled = 0;
    int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;  // prompt_tokens: evaluated
    double prefill_seconds = 0, decode_seconds = 0, mask_seconds = 0;    // of steps with and without prompts
};

// Over the last seconds.
struct ServerRates {
    double prefill_tokens_per_s = 0, decode_tokens_per_s = 0, bytes_per_s = 0;
};

// What is true now, beside what was counted.
struct ServerGauges {
    size_t running = 0, waiting = 0;
    std::string version = {};
};

// What happened to requests. Thread-safe.
class Metrics {
  public:
    void request(const std::string& endpoint, int status);
    void cancelled();
    void prompt(int64_t evaluated, int64_t cached);
    void generated(int64_t tokens);
    void masked(double seconds);
    void step(double seconds, bool prefilling, int64_t prefilled);
    void first_token_seconds(double seconds);
    void token_seconds(double seconds);
    void request_seconds(double seconds);
    void queue_seconds(double seconds);

    ServerTotals totals() const;
    // `bytes_read`: by the engine so far.
    ServerRates rates(uint64_t bytes_read);
    double uptime_seconds() const { return uptime_.seconds(); }

    // Prometheus' text format 0.0.4. `engine` may be null while it is being opened.
    std::string prometheus(const Engine* engine, const ServerGauges& gauges) const;

  private:
    struct Sample {
        double at = 0;
        int64_t prefilled = 0, generated = 0;
        double prefill_seconds = 0, decode_seconds = 0;
        uint64_t bytes_read = 0;
    };

    mutable std::mutex mutex_;
    Stopwatch uptime_;
    ServerTotals totals_;
    int64_t prefilled_ = 0;
    std::map<std::pair<std::string, int>, uint64_t> requests_;
    std::deque<Sample> samples_;
    Histogram first_token_, token_, request_, queue_;

  public:
    Metrics();
};

}  // namespace sluice::server
