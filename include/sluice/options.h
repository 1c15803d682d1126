#pragma once

// Every option of opening and running a model, in one struct each. option_table.h says of each field which values it
// takes; the command line, the C interface and the messages follow from there.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sluice/choices.h"

namespace sluice {

struct EngineOptions {
    std::string device = "cpu";  // or "cuda", "cuda:1", "auto", "reference" (the scalar oracle)
    size_t threads = 0;          // compute threads; 0: all physical cores this process may use
    bool pin_threads = false;    // keep every compute thread but the caller's on a processor of its own
    InstructionSet instruction_set = InstructionSet::kAuto;
    bool exact = false;                 // float32 activations, KV and arithmetic on the weights as stored
    int64_t context = 0;                // tokens a session can hold; 0: the model's own maximum, at most 8192
    int64_t chunk = 0;                  // tokens of a prompt evaluated at once; 0: chosen from the memory
    int64_t sessions = 1;               // that memory is set aside for at the same time
    int64_t session_tokens = 0;         // that they hold together; 0: a context, and with several sessions another one
                                        // or 512 for each of the others
    std::optional<KvFormat> kv_format;  // left out: BF16, or F32 with `exact`
    uint64_t ram_bytes = 0;             // ceiling for all the process holds; 0: from the memory that is free
    uint64_t vram_bytes = 0;            // the same for what lies on a card; 0: nearly all that is free there
    ExpertsOn experts_on = ExpertsOn::kAuto;  // who computes experts that memory holds beside a card
    bool lock_trunk = false;                  // keep the trunk in memory whatever others need (mlock)
    ReaderKind io = ReaderKind::kAuto;
    When direct_io = When::kAuto;   // read past the page cache
    When look_ahead = When::kAuto;  // read the next layer's probable experts in idle drive time; kAuto: of prompts, and
                                    // in decoding while it pays
    bool warm_start = false;        // keep which experts were used, beside the model (in the user's cache folder where
                                    // that cannot be written), and read those in idle time after the next open
    bool peers = false;         // the other processes of the job that a launcher started this one in (sluice/launch.h)
                                // hold and compute a part of the experts: they call work_for_leader()
    double peer_seconds = 120;  // that one of them may take to answer
    bool profile = false;       // time every operation, see Engine::profile()
    std::filesystem::path trace;               // where to save the routing; empty: nowhere
    std::filesystem::path prefix_cache;        // folder of evaluated prompts, kept between runs; empty: none
    uint64_t prefix_cache_bytes = 4ull << 30;  // limit of that folder; least recently used first out
    std::optional<uint64_t>
        prefix_memory_bytes;  // the same in memory, of `ram_bytes`; left out: from what experts leave
};

class TokenMask;  // sluice/sampling.h

// How the next token is drawn from the logits. Negative or zero where said: off.
struct SamplingOptions {
    double temperature = 1.0;  // 0: greedy
    int64_t top_k = 0;         // 0: off
    double top_p = 1.0;
    double min_p = 0.0;
    double repetition_penalty = 1.0;            // 1: off; over all tokens of the sequence
    uint64_t seed = 0;                          // the same seed gives the same text on the same build
    double presence_penalty = 0;                // -2 to 2: off the logit of every token that was generated before,
    double frequency_penalty = 0;               // -2 to 2: and so often as it was
    std::map<int32_t, double> logit_bias = {};  // added to a token's logit; -100 bans it, 100 bans all that have less
};

struct GenerationOptions {
    SamplingOptions sampling;
    int64_t max_tokens = 256;
    bool ignore_eos = false;
    std::vector<std::string> stop;  // text at which to stop; it is not part of the result. Special tokens count as text
    // Also the log-probabilities of the tokens, and of so many of the likeliest at each place.
    std::optional<size_t> log_probabilities;
    // Fills in which tokens may come next, given those generated so far; the mask comes with none allowed. Called
    // without locks by whoever calls Engine::step; what it throws is the generation's error.
    std::function<void(std::span<const int32_t> generated, TokenMask& mask)> mask;
    // A prompt of tokens is the whole of its session, as one of text always is: it goes on from what of it was
    // evaluated before, and what is evaluated is kept for others.
    bool whole_prompt = false;
    // Of a prompt's text: those its tokenizer puts around one. A rendered conversation has its own.
    bool add_special_tokens = false;
    // Set from any thread, even inside a pass, it ends the generation as Generation::cancel() does. Outlives it.
    const std::atomic<bool>* cancelled = nullptr;
};

}  // namespace sluice
