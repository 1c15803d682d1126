#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "experts/expert_store.h"
#include "experts/experts_elsewhere.h"
#include "experts/routing_trace.h"
#include "model/feed_forward.h"
#include "model/mixer.h"
#include "model/ngrams.h"
#include "model/reached_experts.h"
#include "model/recorded_steps.h"
#include "model/resident_experts.h"
#include "model/residual_streams.h"
#include "model/sequence_state.h"
#include "model/step_ahead.h"
#include "model/trunk.h"

namespace sluice {

// New tokens of one sequence in a forward pass.
struct ForwardInput {
    SequenceState* state = nullptr;
    std::span<const int32_t> ids;
    std::vector<int32_t> logit_rows;  // of this sequence's new tokens: which ones' logits are wanted
    bool hidden = false;
    // Where logits are wanted of one row: not they, but the likeliest of so many first tokens is told. 0: logits.
    int64_t likeliest_of = 0;
    std::optional<DrawSettings> draw = {};  // one that is drawn in place of the likeliest
    // Whether the token that is told will be this sequence's next, of which likewise one is told, drawn by `next_draw`,
    // unless it ends the sequence: then that may be begun at once.
    bool goes_on = false;
    std::optional<DrawSettings> next_draw = {};
};

struct ForwardOutput {
    std::vector<float> logits;  // [logit_rows, vocabulary]
    // [layers + 1] of [tokens, streams * hidden_size], the last of [tokens, hidden_size].
    std::vector<std::vector<float>> hidden;
    std::optional<int32_t> likeliest = {};  // or the one that was drawn; -1: the logits are not finite
    std::exception_ptr error;               // the state has not advanced; recurrent state is no longer usable
};

// The one forward pass, put together from a checkpoint's config. Holds weights in the backend's memory; all state is in
// the SequenceStates. Not thread-safe.
class Model {
  public:
    // `trunk` costs time for all of it at once where it is not kMapped.
    Model(std::shared_ptr<const Checkpoint> checkpoint, Backend& backend, KvFormat kv_format,
          TrunkForm trunk = TrunkForm::kMapped);
    Model(const Model&) = delete;
    ~Model();

    // Where experts come from, before the first forward(); `trace` records the routing and may be null, as may who has
    // those that the store has not.
    void use_experts(ExpertStore& experts, RoutingTrace* trace, ExpertsElsewhere* elsewhere = nullptr);

    // Where rows of n-gram tables come from, by layer, before the first forward(); otherwise they are read as suits the
    // machine.
    void use_row_tables(const RowTables& tables) { row_tables_ = &tables; }

    // Evaluates a batch and advances the states of all sequences that did not fail. Sequences must be distinct. Throws
    // what concerns all of them (a file of the trunk that was cut): then no state has advanced, and recurrent ones are
    // no longer usable.
    // `hook` may end the pass, which then throws kCancelled as what concerns all.
    std::vector<ForwardOutput> forward(std::span<const ForwardInput> inputs, const PassHook& hook = {});

    // Passes that were under way when they were asked for.
    uint64_t steps_followed() const { return steps_followed_; }

    // How many sequences' states there may be, and for how many tokens of one the tables are made at once. Before the
    // first new_state(). The pool is as large as the backend allows, but holds one such sequence at least: throws
    // kOutOfMemory where it cannot.
    void use_states(StatePoolSize size, int64_t context);
    // See StatePool::set_give_up(); behind use_states().
    void set_give_up_states(std::function<bool()> give_up);
    // Throws kOutOfMemory where all of the pool is taken.
    std::unique_ptr<SequenceState> new_state();
    // What each layer keeps per sequence.
    const StateParts& state_parts() const { return state_parts_; }
    // Scratch of a pass over `rows` rows, bytes.
    uint64_t scratch_bytes(int64_t rows) const;
    // Beside it: of attention over `tokens` by so many threads, bytes.
    uint64_t context_scratch_bytes(int64_t tokens, size_t threads) const;

  private:
    struct Layer {
        Tensor mixer_norm, feed_forward_norm;            // empty: blocks read the residual as it is
        Tensor mixer_post_norm, feed_forward_post_norm;  // empty: none
        float scale = 1;                                 // of the residual behind the layer
        std::unique_ptr<NGrams> ngrams{};                // null: none
        std::unique_ptr<Mixer> mixer;                    // null: the layer has none; likewise the other
        std::unique_ptr<FeedForward> feed_forward;
    };

    class Numbers;
    // What tables hold, from the first on.
    struct Placed {
        BufferPtr buffer;
        std::vector<int32_t> numbers;
    };
    // Of what is asked for, or, of the only input, of the step behind it.
    Batch make_batch(std::span<const ForwardInput> inputs, const StepAhead* ahead = nullptr);
    void make_tables(Batch& batch, std::span<const ForwardInput> inputs, const StepAhead* ahead, Numbers& numbers);
    // Of a pass.
    struct Rows {
        ResidualRows residual;
        Tensor normed;  // [rows, hidden]
    };

    Rows take_rows(int64_t rows, Workspace& workspace) const;
    // What the head reads; nothing of use where all have failed.
    Tensor run_layers(Batch& batch, ExpertFeed& feed, const Rows& rows, std::span<const ForwardInput> inputs,
                      std::vector<ForwardOutput>& outputs);
    // Begins to read what the n-grams of all layers need, by layer.
    std::vector<RowFetch> fetch_rows(const Batch& batch, std::span<const ForwardInput> inputs);
    void open_row_tables();
    void run_layer(size_t index, Batch& batch, ExpertFeed& feed, const Rows& rows);
    void run_mixer(size_t index, const Batch& batch, const Rows& rows);
    void run_feed_forward(size_t index, Batch& batch, ExpertFeed& feed, const Rows& rows);
    void embed(const Batch& batch, const Rows& rows);
    // The norm of what is read, or that itself where there is none.
    Tensor norm(const Tensor& weight, const Rows& rows);
    // What a block adds, directly or apart: then it is normed where the block has a norm for it.
    BlockOutput output_of(const Tensor& post_norm, const Rows& rows) const;
    void add_output(const BlockPlace& place, const Tensor& post_norm, const Rows& rows);
    NextFeedForward next_of_layer(size_t layer) const;
    NextFeedForward next_feed_forward(size_t layer, const Batch& batch) const;  // whose needs are worth a guess
    void foretell(const Batch& batch, ExpertFeed& feed);
    void tap_hidden(const Batch& batch, const Tensor& rows, std::span<const ForwardInput> inputs,
                    std::vector<ForwardOutput>& outputs);
    void run_head(const Batch& batch, const Tensor& normed, std::span<const ForwardInput> inputs,
                  std::vector<ForwardOutput>& outputs);
    void make_logits(const Tensor& normed, const Tensor& logits);

    // Without a step ahead.
    std::vector<ForwardOutput> evaluate(std::span<const ForwardInput> inputs, const PassHook& hook);
    // Where the pass is one that repeats: null where it is not.
    RecordedStep* step_of(const Batch& batch, const ExpertFeed& feed, std::span<const ForwardInput> inputs);
    RecordedStep& recorded_step(const Batch& batch, const ForwardInput& input, bool reached);
    // The step once more, its logits or the likeliest tokens included. False: it has to be run.
    bool repeat(RecordedStep& step, Batch& batch, ExpertFeed& feed, const Rows& rows,
                std::span<const ForwardInput> inputs, std::vector<ForwardOutput>& outputs);
    void record(RecordedStep& step, Batch& batch, ExpertFeed& feed, const Rows& rows,
                std::span<const ForwardInput> inputs, std::vector<ForwardOutput>& outputs);
    // The likeliest tokens of a step, or those that are drawn.
    Tensor choose_tokens(const Batch& batch, const Tensor& normed, int64_t tokens);
    // Whether the next step of a sequence may be handed over before its token is known.
    bool can_go_ahead() const;
    // Whether what is asked for is the step that was handed over ahead; the rest of it.
    bool is_ahead(std::span<const ForwardInput> inputs) const;
    std::vector<ForwardOutput> follow(const ForwardInput& input);
    // Behind the step of `input`, which was handed over: the next one, where that is possible; where its token goes;
    // the token of the first, which is waited for.
    void hand_over_ahead(const ForwardInput& input);
    void ask_for_token(const RecordedStep& step, StepAhead& of);
    int32_t finish_step(const ForwardInput& input, const StepAhead& step);
    void drop_ahead();
    bool give_up_ahead();  // whether there was one
    // Whether the pass takes experts from both tiers by itself.
    bool begin_reach(const Batch& batch);
    // Choices of a pass whose experts were all in the backend's memory count as hits.
    void count_resident(int64_t rows);
    int64_t head_rows() const;

    std::shared_ptr<const Checkpoint> checkpoint_;
    Backend& backend_;
    ExpertStore* experts_ = nullptr;
    ExpertsElsewhere* elsewhere_ = nullptr;
    RoutingTrace* trace_ = nullptr;
    std::optional<ResidentExperts> resident_;  // none: the host knows all choices
    std::optional<ReachedExperts> reached_;    // likewise
    RecordedSteps steps_;
    bool repeats_ = false;  // whether steps are the same operations
    bool goes_ahead_ = false;
    std::optional<StepAhead> ahead_;
    std::array<int32_t, 2> told_{};  // tokens of steps, in turn
    size_t next_told_ = 0;
    uint64_t steps_followed_ = 0;
    Placed placed_;
    const RowTables* row_tables_ = nullptr;
    RowTables own_row_tables_;    // where nobody gave others
    Workspace inputs_workspace_;  // ids, positions, tables, rows
    Workspace workspace_;         // one block's temporaries
    Weight embedding_, head_;
    Tensor final_norm_;
    std::unique_ptr<ResidualStreams> residual_;
    int64_t selected_tokens_ = 0;   // that attention sees at most where an indexer chooses
    std::set<int64_t> run_tokens_;  // of runs that share a key
    std::vector<Layer> layers_;
    StateParts state_parts_;
    std::shared_ptr<StatePool> states_;  // null until the first is wanted
    size_t table_pages_ = 16;            // columns of a batch's table of pages
};

}  // namespace sluice
