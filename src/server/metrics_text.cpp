// Prometheus' text format.

#include <fmt/core.h>

#include <string>
#include <utility>

#include "base/memory.h"
#include "server/metrics.h"

namespace sluice::server {

namespace {

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

namespace {

struct PeerFigure {
    std::string_view name, help;
    double (*value)(const PeerStatistics&);
};
constexpr PeerFigure kPeerFigures[] = {
    {"messages", "Messages with another machine.", [](const PeerStatistics& p) { return double(p.messages); }},
    {"bytes_sent", "Bytes sent to it.", [](const PeerStatistics& p) { return double(p.bytes_sent); }},
    {"bytes_received", "Bytes that it sent.", [](const PeerStatistics& p) { return double(p.bytes_received); }},
    {"wait_seconds", "Time that was waited for it.", [](const PeerStatistics& p) { return p.wait_seconds; }},
    {"busy_seconds", "Time that it worked.", [](const PeerStatistics& p) { return p.busy_seconds; }},
    {"expert_hits", "Its hits.", [](const PeerStatistics& p) { return double(p.experts.hits); }},
    {"expert_misses", "Its misses.", [](const PeerStatistics& p) { return double(p.experts.misses); }},
    {"expert_bytes_read", "Bytes that it read.", [](const PeerStatistics& p) { return double(p.experts.bytes_read); }},
    {"stall_seconds", "Time that it waited for its drive.",
     [](const PeerStatistics& p) { return p.experts.stall_seconds; }},
};

// Of the other machines of a job, each by its name.
void add_peers(Page& page, const std::vector<PeerStatistics>& peers) {
    if (peers.empty()) return;
    for (const PeerFigure& figure : kPeerFigures) {
        const std::string name = fmt::format("sluice_peer_{}_total", figure.name);
        page.family(name, "counter", figure.help);
        for (size_t rank = 1; rank < peers.size(); ++rank) {
            page.line(fmt::format("{}{{peer=\"{}\"}}", name, label(peers[rank].name)), figure.value(peers[rank]));
        }
    }
}

}  // namespace

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
    add_peers(page, statistics.peers);
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
