#include "cli/host_plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/size.h"

namespace sluice::cli {

namespace {

// Beside the experts: the program itself, and messages.
constexpr uint64_t kHelperBytes = 256ull << 20;

std::vector<std::string_view> parted(std::string_view text, char mark) {
    std::vector<std::string_view> parts;
    for (size_t end = text.find(mark); end != std::string_view::npos; end = text.find(mark)) {
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    parts.push_back(text);
    return parts;
}

std::optional<MachineRates> read_host(std::string_view text) {
    constexpr double kMicrosecond = 1e-6;
    constexpr size_t kLeast = 3, kMost = 6;
    const std::vector<std::string_view> parts = parted(text, ':');
    if (parts.size() < kLeast || parts.size() > kMost) return std::nullopt;
    std::array<double, kMost> rates{};
    for (size_t i = 0; i < parts.size(); ++i) {
        const std::optional<uint64_t> number = read_size(parts[i]);
        if (!number) return std::nullopt;
        rates[i] = static_cast<double>(*number);
    }
    const auto [ram, memory, drive, kernels, link, latency] = rates;
    if (memory == 0) return std::nullopt;
    return MachineRates{.cache_bytes = static_cast<uint64_t>(ram),
                        .memory_bytes_per_s = memory,
                        .drive_bytes_per_s = drive,
                        .kernel_bytes_per_s = kernels,
                        .link_seconds = latency * kMicrosecond,
                        .link_bytes_per_s = link};
}

uint64_t held_bytes(const HostShare& host, uint64_t expert_bytes) {
    return static_cast<uint64_t>(host.share * static_cast<double>(expert_bytes));
}

}  // namespace

Flag hosts_flag(std::vector<MachineRates>& hosts) {
    Flag flag{.names = "--hosts",
              .help =
                  "Also plan a job of several machines: of each, the one that leads first, its memory and what its "
                  "memory and its drive give a second, as in 24G:40G:3G,64G:80G:6G; and, if known, what its kernels "
                  "(0: as memory) and its link give a second and what a message takes in microseconds, as in "
                  "64G:80G:6G:50G:1200M:20",
              .value = "RAM:MEMORY:DRIVE[:KERNELS[:LINK[:LATENCY]]],..."};
    flag.take = [&hosts](const std::string& text) {
        hosts.clear();
        for (const std::string_view part : parted(text, ',')) {
            const std::optional<MachineRates> host = read_host(part);
            if (!host) {
                return fmt::format(
                    "\"{}\" is not RAM:MEMORY:DRIVE, three sizes as in 24G:40G:3G, nor that with :KERNELS:LINK:LATENCY",
                    part);
            }
            hosts.push_back(*host);
        }
        return std::string();
    };
    return flag;
}

std::vector<HostShare> plan_hosts(std::vector<MachineRates> hosts, uint64_t leader_bytes, const ExpertCounts& experts) {
    for (size_t i = 0; i < hosts.size(); ++i) {
        uint64_t& bytes = hosts[i].cache_bytes;
        bytes -= std::min(bytes, i == 0 ? leader_bytes : kHelperBytes);
    }
    const std::vector<double> shares = shares_of(hosts, expert_load(experts));
    std::vector<HostShare> planned;
    for (size_t i = 0; i < hosts.size(); ++i) {
        const double held = shares[i] * static_cast<double>(experts.bytes);
        const double cached = held > 0 ? std::min(1.0, static_cast<double>(hosts[i].cache_bytes) / held) : 1;
        planned.push_back({.share = shares[i], .cached = cached});
    }
    return planned;
}

std::string hosts_text(const std::vector<HostShare>& hosts, uint64_t expert_bytes) {
    std::string text;
    for (size_t i = 0; i < hosts.size(); ++i) {
        text += fmt::format("{:<16}{:.0f} % of the experts, {}; {:.0f} % of them in memory\n",
                            i == 0 ? "leader" : fmt::format("machine {}", i + 1), 100 * hosts[i].share,
                            format_size(held_bytes(hosts[i], expert_bytes)), 100 * hosts[i].cached);
    }
    return text;
}

nlohmann::ordered_json hosts_json(const std::vector<HostShare>& hosts, uint64_t expert_bytes) {
    auto document = nlohmann::ordered_json::array();
    for (const HostShare& host : hosts) {
        document.push_back({{"share", host.share},
                            {"expert_bytes", held_bytes(host, expert_bytes)},
                            {"cached_fraction", host.cached}});
    }
    return document;
}

}  // namespace sluice::cli
