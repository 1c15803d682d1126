#pragma once

// The engine: a model opened from its published files, sessions on it, and generation. See docs/architecture.md.

#include <atomic>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/chat_template.h"
#include "sluice/error.h"
#include "sluice/generation.h"
#include "sluice/options.h"
#include "sluice/statistics.h"
#include "sluice/tokenizer.h"

namespace sluice {

class Engine;

// One timeline of tokens with its KV cache and recurrent state. Belongs to the engine that made it and must not outlive
// it. One thread at a time; different sessions may be used from different threads (the engine serializes evaluation).
// While it is being evaluated, also from a callback of that, every other call but tokens(), position() and
// state_bytes() is refused with kUsage.
class Session {
  public:
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    const std::vector<TokenId>& tokens() const;  // evaluated so far
    int64_t position() const;                    // = tokens().size()

    // Goes back to `position` <= position(), else kUsage. Exact: attention layers forget what came after; recurrent
    // layers go back to the nearest checkpoint before it, or the start, and the next evaluation evaluates the tokens in
    // between.
    void truncate(int64_t position);
    // Remembers this position; sharing cache pages, copying recurrent state. Returns a handle for restore().
    int64_t checkpoint();
    // Goes back to a checkpoint of this session, bit-identical to never having gone on. Throws kUsage if unknown.
    void restore(int64_t checkpoint);
    void drop_checkpoint(int64_t checkpoint);

    uint64_t state_bytes() const;  // held by caches, states and checkpoints; what they share once
    // One safetensors file: token ids, fingerprint, versions, checksum, state. Throws kIo.
    void save(const std::filesystem::path& path) const;
    // Replaces this session's state; everything is checked before anything changes. Throws kInvalidFile with the reason
    // (another model, another KV format, cut off, corrupted).
    void load(const std::filesystem::path& path);

    struct Impl;

  private:
    friend class Engine;
    explicit Session(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

enum class LogitsWanted { kNone, kLast, kAll };

// New tokens of one session in a batch.
struct SequenceInput {
    Session* session = nullptr;
    std::span<const TokenId> tokens;
    LogitsWanted logits = LogitsWanted::kLast;
    bool hidden = false;  // also the residual stream after every layer
    // The session goes back to this position first (see Session::truncate), once the whole batch has been checked.
    std::optional<int64_t> position = {};
    // Set from any thread, even inside a pass, it ends this sequence with an error of kCancelled. Outlives the call.
    const std::atomic<bool>* cancelled = nullptr;
};

struct SequenceOutput {
    std::vector<float> logits;               // [1 or tokens, vocabulary]
    std::vector<std::vector<float>> hidden;  // [layers + 1] of [tokens, hidden]: 0 the embeddings, the last normed
    std::exception_ptr error;                // this sequence failed (a read, a full context); the others did not
};

// What a run is made of; fixed once the engine is open.
struct EngineInfo {
    std::string model_name;    // of the folder or the file
    std::string architecture;  // model_type as published
    std::string device;        // "cpu (AVX-512 VNNI)"
    size_t threads = 0;
    std::string reader;  // "pread x8"
    bool direct_io = false;
    std::string quantization;  // of the experts
    std::string kv_format;
    bool lossless = true;  // false with an option that gives up accuracy: a KV cache of int8
    bool exact = false;
    int64_t layers = 0, experts = 0, experts_per_token = 0, hidden_size = 0, vocabulary = 0;
    int64_t residual_streams = 1;  // of hidden_size each: what hidden states before the last hold
    int64_t context = 0, chunk = 0;
    int64_t pass_rows = 0;        // tokens that a forward pass takes at most: a chunk, and a token of some others
    int64_t largest_context = 0;  // that the model takes
    int64_t session_tokens = 0;   // that all sessions together have memory for; holding to it is up to the caller
    uint64_t trunk_bytes = 0, expert_bytes = 0;  // of the model
    uint64_t cache_bytes = 0;                    // expert slots
    uint64_t host_bytes = 0;                     // expert slots in the host's memory, below those of a card
    double link_bytes_per_s = 0;                 // at which those are copied to the card
    uint64_t ram_bytes = 0;                      // the ceiling in force
    uint64_t prefix_memory_bytes = 0;            // of it, for evaluated prompts kept in memory
    uint64_t kv_bytes_per_token = 0;
    std::string fingerprint;
};

// What a memory ceiling would make of a model, from Engine::foresee_memory.
struct MemoryOutlook {
    bool runs = false;               // the ceiling is enough
    uint64_t ram_bytes = 0;          // the ceiling: EngineOptions::ram_bytes, or what is free
    uint64_t least_bytes = 0;        // the least ceiling that is enough, in whole megabytes
    uint64_t full_bytes = 0;         // the ceiling that holds every expert
    uint64_t cache_bytes = 0;        // of the ceiling, for experts; 0 where it is too small
    uint64_t host_bytes = 0;         // for experts in the host's memory, below those of a card
    int64_t context = 0, chunk = 0;  // under the ceiling, or under the least one where it is too small
};

// Defaults that the checkpoint's generation_config.json and tokenizer give.
struct GenerationDefaults {
    SamplingOptions sampling;
    std::vector<TokenId> eos_ids;
};

// Of one step; 0, or more than the engine has memory for: what it has memory for.
struct StepLimits {
    int64_t rows = 0;   // of the pass: EngineInfo::pass_rows
    int64_t chunk = 0;  // tokens of one prompt: EngineInfo::chunk. A smaller one keeps others waiting for less time.
                        // With latent attention it may move last bits, see docs/architecture.md.
};

// Where the evaluation of a prompt begins.
struct PromptStart {
    int64_t tokens = 0;                // in the session already
    std::vector<int64_t> remember_at;  // positions on the way where remember() spares later prompts work,
                                       // ascending; the last one for this prompt itself
};

// Called after each token with its id and the text that became certain (may be empty); false stops.
using TokenCallback = std::function<bool(TokenId id, const std::string& text)>;
// Called between the passes of a prefill with tokens done and total; false cancels (an Error of kCancelled).
using ProgressCallback = std::function<bool(int64_t done, int64_t total)>;

// Thread-safe but where said. Two locks keep it so: one is the model's, held for one forward pass at a time and given
// in the order of asking; the other is of what statistics(), profile(), new_session() and the destruction of sessions
// need, none of which waits for a pass. Callbacks run with neither held, so that they may call anything, though not use
// a session that is being evaluated.
class Engine {
  public:
    // `model`: a checkpoint folder or a GGUF file. Throws Error; nothing is left behind. The process gets a handler of
    // SIGBUS that turns a mapped file's cutting into an Error and passes on whatever else raises it.
    static std::unique_ptr<Engine> open(const std::filesystem::path& model, const EngineOptions& options);
    // What open() would do with the memory; of the weights little more than their headers is read. `model` may be a
    // config.json alone, whose weights are not there yet: scratch is then an estimate. Throws as open() does, but for
    // too small a ceiling.
    static MemoryOutlook foresee_memory(const std::filesystem::path& model, const EngineOptions& options);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const EngineInfo& info() const;
    EngineStatistics statistics() const;
    // Why nothing can be evaluated any more: another machine of the job does not answer. Empty: it can.
    std::string lost() const;
    // The process is about to end: from now on other machines of the job have so many seconds to answer.
    void hurry_peers(double seconds) const;
    std::vector<OperationTime> profile() const;  // since open, by name; empty without EngineOptions::profile
    // [layers][experts]: the share of its layer's batches since open that took the expert; zeros for a layer without.
    std::vector<std::vector<float>> expert_use() const;
    const GenerationDefaults& defaults() const;
    const Tokenizer* tokenizer() const;         // null where the checkpoint has none
    const ChatTemplate* chat_template() const;  // null where the checkpoint has none

    std::unique_ptr<Session> new_session();

    // The one forward pass: any number of sequences, any number of new tokens each; appends them to their sessions. A
    // failed sequence has its error in its output and its session where it was before (or at a position it can
    // restore). Throws kUsage for ids outside the vocabulary or no tokens, before anything is evaluated.
    std::vector<SequenceOutput> evaluate(std::span<const SequenceInput> batch, const ProgressCallback& progress = {});
    // One sequence; throws its error.
    SequenceOutput evaluate(Session& session, std::span<const TokenId> tokens,
                            LogitsWanted logits = LogitsWanted::kLast, const ProgressCallback& progress = {});

    // A generation that continues `session` with the tokens of a prompt, or is the whole of it with
    // GenerationOptions::whole_prompt. Evaluates nothing; throws kUsage or kContextFull for what cannot be generated.
    std::unique_ptr<Generation> begin(Session& session, std::span<const TokenId> prompt,
                                      const GenerationOptions& options);
    // The same for a prompt's text (a rendered conversation), which is the whole of the session: a prompt that begins
    // with what the session holds goes on from there, one that begins with a remembered one from the end of that;
    // anything else starts over. The states after the prompt and after the answer are remembered. Needs a tokenizer.
    std::unique_ptr<Generation> begin(Session& session, std::string_view prompt, const GenerationOptions& options);

    // One forward pass for generations of different sessions: a chunk of some prompts and a token of every other; then
    // their next tokens are drawn. Does nothing for those that are finished. Whoever has waited longest goes first,
    // even beyond the limit of rows, so that nobody waits for more passes than there are generations. A prompt is cut
    // where it would be cut alone: company changes neither text nor log-probabilities. What goes wrong with one
    // generation is its own error. Throws kUsage, before anything is evaluated, for one that is named twice or in use
    // by another thread.
    void step(std::span<Generation* const> generations, const StepLimits& limits = {});

    // begin() and step() until it is finished. Throws its error.
    GenerationResult generate(Session& session, std::span<const TokenId> prompt, const GenerationOptions& options,
                              const TokenCallback& on_token = {}, const ProgressCallback& progress = {});

    GenerationResult generate_text(Session& session, const std::string& prompt, const GenerationOptions& options,
                                   const TokenCallback& on_token = {}, const ProgressCallback& progress = {});

    // The prefix cache, for callers that evaluate by themselves (generate_text does both). resume() makes the session a
    // beginning of the prompt, the longest that the session itself, another in this process or the folder
    // EngineOptions::prefix_cache has evaluated and that leaves a token to evaluate: at worst empty. remember() keeps
    // the session's state, in memory and under a text that it is a beginning of in the folder (no text: in memory
    // alone).
    PromptStart resume(Session& session, const std::string& text, std::span<const TokenId> tokens);
    void remember(const Session& session, const std::string& text);

    // Saves the routing so far where EngineOptions::trace says; nothing without it.
    void save_trace() const;

    struct Impl;

  private:
    explicit Engine(std::unique_ptr<Impl> impl);
    GenerationResult run_to_end(Generation& generation, const TokenCallback& on_token,
                                const ProgressCallback& progress);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
