#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "sluice/engine.h"

namespace sluice::cli {

// count / seconds, or 0 where nothing was timed.
double per_second(double count, double seconds);

// What a generation cost, in the units people compare.
struct RunFigures {
    double prefill_tokens_per_s = 0;
    double decode_tokens_per_s = 0;
    double hit_rate = 0;                // of all experts asked for; 0 where none was
    double expert_bytes_per_token = 0;  // read, over all tokens evaluated
};

RunFigures figures_of(const GenerationResult& result);
double hit_rate(const EngineStatistics& spent);
// A line for each other machine of the job.
std::string describe_peers(const EngineStatistics& spent);

// The keys that say what ran: device, threads, reader, direct_io, quantization, lossless, memory ...
void add_engine_keys(nlohmann::ordered_json& document, const EngineInfo& info);

// The keys that say what expert reading cost: expert_hits, expert_misses, hit_rate, prefetch_reads, ...
void add_expert_keys(nlohmann::ordered_json& document, const EngineStatistics& spent);

// Whether a card computes, of which EngineInfo::ram_bytes is the part that may be taken.
bool on_card(const EngineInfo& info);
// "3.1 GiB at most, of 4.0 GiB allowed"
std::string memory_spent(const EngineInfo& info, uint64_t peak_resident_bytes);
// Where experts were found, of an engine with two tiers; else nothing.
std::string tier_shares(const EngineInfo& info, const EngineStatistics& spent);
// "affine 4-bit, 8 experts per token | pread x8 with direct I/O | cpu (AVX2), 8 threads"
std::string describe_engine(const EngineInfo& info);

// The lines that close a run on stderr: speed, time to first token, hit rate, bytes per token, stall, reader, memory.
std::string footer(const EngineInfo& info, const GenerationResult& result, const SamplingOptions& sampling);

std::string_view finish_name(FinishReason reason);

}  // namespace sluice::cli
