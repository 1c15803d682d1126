#include "cli/run_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/size.h"

namespace sluice::cli {

double per_second(double count, double seconds) {
    return seconds > 0 ? count / seconds : 0;
}

namespace {

double hit_rate_of(const ExpertCounters& counters) {
    const double asked = static_cast<double>(counters.hits + counters.misses);
    return asked > 0 ? static_cast<double>(counters.hits) / asked : 0;
}

// Another machine of the job.
nlohmann::ordered_json peer_json(const PeerStatistics& peer) {
    return {{"name", peer.name},
            {"share", peer.share},
            {"messages", peer.messages},
            {"bytes_sent", peer.bytes_sent},
            {"bytes_received", peer.bytes_received},
            {"wait_s", peer.wait_seconds},
            {"busy_s", peer.busy_seconds},
            {"expert_hits", peer.experts.hits},
            {"expert_misses", peer.experts.misses},
            {"expert_bytes_read", peer.experts.bytes_read},
            {"warm_reads", peer.experts.warm_reads},
            {"stall_s", peer.experts.stall_seconds},
            {"cache_bytes", peer.cache_bytes},
            {"measured",
             {{"cache_bytes", peer.rates.cache_bytes},
              {"memory_bytes_per_s", peer.rates.memory_bytes_per_s},
              {"drive_bytes_per_s", peer.rates.drive_bytes_per_s},
              {"kernel_bytes_per_s", peer.rates.kernel_bytes_per_s},
              {"link_s", peer.rates.link_seconds},
              {"link_bytes_per_s", peer.rates.link_bytes_per_s}}}};
}

}  // namespace

double hit_rate(const EngineStatistics& spent) {
    return hit_rate_of(spent.experts);
}

std::string describe_peers(const EngineStatistics& spent) {
    std::string text;
    for (size_t rank = 1; rank < spent.peers.size(); ++rank) {
        const PeerStatistics& peer = spent.peers[rank];
        text += fmt::format(
            "{}: {:.0f} % of the experts | hit rate {:.1f} % | {} messages, {} there, {} back | waited "
            "for {:.2f} s, worked {:.2f} s\n",
            peer.name, 100 * peer.share, 100 * hit_rate_of(peer.experts), peer.messages, format_size(peer.bytes_sent),
            format_size(peer.bytes_received), peer.wait_seconds, peer.busy_seconds);
    }
    return text;
}

namespace {

double bytes_per_token(const EngineStatistics& spent) {
    return spent.tokens_evaluated > 0
               ? static_cast<double>(spent.experts.bytes_read) / static_cast<double>(spent.tokens_evaluated)
               : 0;
}

}  // namespace

std::string tier_shares(const EngineInfo& info, const EngineStatistics& spent) {
    const ExpertCounters& experts = spent.experts;
    const auto asked = static_cast<double>(experts.hits + experts.misses);
    if (info.host_bytes == 0 || asked == 0) return {};
    const auto tokens = std::max<uint64_t>(spent.tokens_evaluated, 1);
    const auto share = [&](uint64_t count) { return 100 * static_cast<double>(count) / asked; };
    return fmt::format(
        "experts on the card {:.1f} % (of {}), in memory {:.1f} % (of {}; {} per token over a link of {:.1f} GB/s), "
        "read "
        "{:.1f} %\n",
        share(experts.hits - experts.host_hits), format_size(info.cache_bytes), share(experts.host_hits),
        format_size(info.host_bytes), format_size((experts.copied_bytes + experts.reached_bytes) / tokens),
        info.link_bytes_per_s / 1e9, share(experts.misses));
}

RunFigures figures_of(const GenerationResult& result) {
    RunFigures figures;
    const uint64_t evaluated = result.spent.tokens_evaluated;
    const uint64_t decoded = evaluated > result.prefilled_tokens ? evaluated - result.prefilled_tokens : 0;
    figures.prefill_tokens_per_s = per_second(static_cast<double>(result.prefilled_tokens), result.prefill_s);
    figures.decode_tokens_per_s = per_second(static_cast<double>(decoded), result.decode_s);
    figures.hit_rate = hit_rate(result.spent);
    figures.expert_bytes_per_token = bytes_per_token(result.spent);
    return figures;
}

void add_engine_keys(nlohmann::ordered_json& document, const EngineInfo& info) {
    document["model"] = info.model_name;
    document["architecture"] = info.architecture;
    document["device"] = info.device;
    document["threads"] = info.threads;
    document["reader"] = info.reader;
    document["direct_io"] = info.direct_io;
    document["experts_per_token"] = info.experts_per_token;
    document["quantization"] = info.quantization;
    document["kv_format"] = info.kv_format;
    document["lossless"] = info.lossless;
    document["exact"] = info.exact;
    document["context"] = info.context;
    document["trunk_bytes"] = info.trunk_bytes;
    document["expert_bytes"] = info.expert_bytes;
    document["cache_bytes"] = info.cache_bytes;
    document["host_cache_bytes"] = info.host_bytes;
    document["link_bytes_per_s"] = info.link_bytes_per_s;
    document["ram_bytes"] = info.ram_bytes;
    document["version"] = SLUICE_VERSION;
}

void add_expert_keys(nlohmann::ordered_json& document, const EngineStatistics& spent) {
    document["expert_hits"] = spent.experts.hits;
    document["expert_misses"] = spent.experts.misses;
    document["hit_rate"] = hit_rate(spent);
    document["expert_host_hits"] = spent.experts.host_hits;
    document["expert_copies"] = spent.experts.copies;
    document["expert_bytes_copied"] = spent.experts.copied_bytes;
    document["expert_bytes_reached"] = spent.experts.reached_bytes;
    document["expert_copies_waited"] = spent.experts.copies_waited;
    document["prefetch_reads"] = spent.experts.prefetch_reads;
    document["prefetch_hits"] = spent.experts.prefetch_hits;
    document["warm_reads"] = spent.experts.warm_reads;
    document["warm_hits"] = spent.experts.warm_hits;
    document["row_reads"] = spent.experts.row_reads;
    document["row_hits"] = spent.experts.row_hits;
    document["row_bytes_read"] = spent.experts.row_bytes;
    document["expert_bytes_read"] = spent.experts.bytes_read;
    document["expert_bytes_per_token"] = bytes_per_token(spent);
    document["stall_s"] = spent.experts.stall_seconds;
    document["peak_rss_bytes"] = spent.peak_resident_bytes;
    for (const PeerStatistics& peer : spent.peers) document["peers"].push_back(peer_json(peer));
}

bool on_card(const EngineInfo& info) {
    return info.device.starts_with("cuda");
}

std::string memory_spent(const EngineInfo& info, uint64_t peak_resident_bytes) {
    return fmt::format("{} at most, {}{} allowed{}", format_size(peak_resident_bytes), on_card(info) ? "" : "of ",
                       format_size(info.ram_bytes), on_card(info) ? " on the card" : "");
}

std::string describe_engine(const EngineInfo& info) {
    const bool on_processor = info.device.starts_with("cpu");
    const std::string threads =
        on_processor ? fmt::format(", {} thread{}", info.threads, info.threads == 1 ? "" : "s") : std::string();
    return fmt::format("{}, {} experts per token | {} {} direct I/O | {}{}{}", info.quantization,
                       info.experts_per_token, info.reader, info.direct_io ? "with" : "without", info.device, threads,
                       info.lossless ? "" : " | LOSSY");
}

namespace {

std::string ending(FinishReason reason, int64_t context) {
    switch (reason) {
        case FinishReason::kStop:
            return "ended by itself";
        case FinishReason::kLength:
            return "ended by --max-tokens";
        case FinishReason::kContext:
            return fmt::format("ended by the context of {} tokens; a larger --context goes on", context);
        case FinishReason::kCancelled:
            return "interrupted";
        case FinishReason::kError:
            return "ended by an error";
    }
    return {};
}

}  // namespace

std::string footer(const EngineInfo& info, const GenerationResult& result, const SamplingOptions& sampling) {
    const RunFigures figures = figures_of(result);
    std::string text =
        fmt::format("{:.1f} tok/s ({} tokens) | first token {:.2f} s | prefill {:.1f} tok/s ({} tokens)\n",
                    figures.decode_tokens_per_s, result.token_ids.size(), result.time_to_first_token_s,
                    figures.prefill_tokens_per_s, result.prefilled_tokens);
    text += fmt::format("hit rate {:.1f} % | {} read per token | stalled {:.2f} s | memory {}\n",
                        100 * figures.hit_rate, format_size(static_cast<uint64_t>(figures.expert_bytes_per_token)),
                        result.spent.experts.stall_seconds, memory_spent(info, result.spent.peak_resident_bytes));
    text += tier_shares(info, result.spent);
    text += describe_peers(result.spent);
    text += describe_engine(info);
    text += fmt::format(" | {}", ending(result.finish, info.context));
    text += sampling.temperature > 0 ? fmt::format(" | seed {}\n", sampling.seed) : "\n";
    return text;
}

std::string_view finish_name(FinishReason reason) {
    switch (reason) {
        case FinishReason::kStop:
            return "stop";
        case FinishReason::kLength:
            return "length";
        case FinishReason::kContext:
            return "context";
        case FinishReason::kCancelled:
            return "cancelled";
        case FinishReason::kError:
            return "error";
    }
    return "stop";
}

}  // namespace sluice::cli
