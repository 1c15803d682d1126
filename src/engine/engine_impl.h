#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "base/fair_mutex.h"
#include "checkpoint/checkpoint.h"
#include "engine/cluster/peer_experts.h"
#include "engine/prefix_cache.h"
#include "engine/sequence_work.h"
#include "engine/session_impl.h"
#include "engine/warm_start.h"
#include "experts/expert_store.h"
#include "experts/memory_budget.h"
#include "experts/routing_trace.h"
#include "experts/row_table.h"
#include "model/host_experts.h"
#include "model/model.h"
#include "sluice/engine.h"

namespace sluice {

struct MemoryPlan;

// Destroyed from the bottom up: the model's memory goes before the backend that gave it.
struct Engine::Impl {
    EngineOptions options;
    EngineInfo info;
    GenerationDefaults defaults;
    std::shared_ptr<const Checkpoint> checkpoint;
    std::unique_ptr<Backend> backend;
    TimeProfile profile;  // filled with EngineOptions::profile
    std::unique_ptr<ExpertStore> store;
    std::unique_ptr<PeerExperts> elsewhere;  // with others, see EngineOptions::peers
    std::unique_ptr<Backend> host_backend;   // beside a card, for host_experts; null: it computes all
    std::unique_ptr<HostExperts> host_experts;
    RowTables row_tables;
    std::optional<WarmStart> warm_start;  // with EngineOptions::warm_start
    std::optional<RoutingTrace> trace;
    std::unique_ptr<Model> model;
    std::optional<Tokenizer> tokenizer;
    mutable std::mutex template_mutex;
    mutable std::optional<ChatTemplate> chat_template;
    mutable FairMutex model_mutex;            // taken by ModelLock alone
    std::optional<PrefixCache> prefix_cache;  // never empty once open; with the model's lock
    uint64_t passes = 0;                      // with the model's lock
    std::atomic<uint64_t> tokens_evaluated = 0;
    std::mutex retired_mutex;
    std::unique_ptr<Session::Impl> retired;  // a list of destroyed sessions whose memory waits for the model's lock
    // Of the store's size; last, since they work on their own.
    std::optional<MemoryGovernor> governor, card_governor;

    // Where its experts come from. Tests give stores whose reads fail.
    using MakeStore = std::function<std::unique_ptr<ExpertStore>(
        const std::shared_ptr<const Checkpoint>&, const ExpertStoreOptions&, const ExpertStore::MakeSlots&)>;
    static std::unique_ptr<Engine> open(const std::filesystem::path& model, const EngineOptions& options,
                                        const MakeStore& make_store);

    // All that an engine has before its memory is divided: no session, no expert.
    static std::unique_ptr<Impl> load(const std::filesystem::path& model, const EngineOptions& options);
    void govern(bool on_card);
    // Where the processor computes some of the experts that memory holds beside a card.
    void divide_with_host(const ExpertStoreOptions& how);
    // Calls the others of the job together.
    Division divide_experts(Peers& peers, int64_t rows, const ExpertStoreOptions& how) const;
    void open_row_tables(const ExpertStoreOptions& how);
    void describe(const std::string& name, const MemoryPlan& plan);  // what is open
    void begin_warm_start();
    // Puts the model together again with its trunk as the backend reads it soonest, once there is known to be room.
    void tile_trunk();

    // Without locks.
    std::vector<SequenceOutput> evaluate(std::span<const SequenceInput> batch, const ProgressCallback& progress);
    void catch_up(Session::Impl& session);                  // its state with its tokens; throws its error
    void retire(std::unique_ptr<Session::Impl> session);    // never waits
    void check_ids(std::span<const TokenId> tokens) const;  // throws kUsage
    void check_room(size_t there, size_t more) const;       // in the context; throws kContextFull
    std::unique_ptr<Generation> begin(Session::Impl& session, std::vector<TokenId> prompt, bool whole,
                                      const GenerationOptions& how);
    EngineStatistics statistics() const;
    HotList used() const;
    bool is_end(TokenId id) const;

    // With the model's lock.
    // One forward pass of `room` rows at most (see choose_for_pass), of each work at most `chunk`. What fails is the
    // error of the work.
    void run_pass(std::span<SequenceWork* const> work, int64_t room, int64_t chunk);
    PromptStart resume(Session::Impl& session, std::span<const TokenId> tokens);
    // What the session has seen, for prompts of other sessions; on disk too once write_remembered() is called.
    void remember(Session::Impl& session, bool on_disk);
    void write_remembered(Session::Impl& session);
    // Where the evaluation of a prompt failed by what it began with.
    void forget(std::span<const TokenId> prompt);

  private:
    std::vector<ForwardOutput> forward(std::span<const ForwardInput> inputs, const PassHook& hook);
    struct Piece {
        SequenceWork* work;
        std::span<const TokenId> tokens;
        bool known;  // the session has them already
    };
    void finish_piece(const Piece& piece, ForwardOutput&& result);
};

// The right to use the model and the states of sessions. What was retired meanwhile goes when it is given back.
class ModelLock {
  public:
    explicit ModelLock(Engine::Impl& engine) : engine_(engine) { engine_.model_mutex.lock(); }
    ModelLock(Engine::Impl& engine, std::adopt_lock_t) : engine_(engine) {}
    ModelLock(const ModelLock&) = delete;
    ~ModelLock();

  private:
    Engine::Impl& engine_;
};

}  // namespace sluice
