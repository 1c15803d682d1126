#include "model/feed_forward.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "model/expert_layer.h"
#include "model/shared_mlp.h"

namespace sluice {

namespace {

// Rows of a prompt that are asked what the next layer will need, and how many of them must name an expert. A guess is
// wrong now and then; two of 128 rows hardly ever for all the others (docs/experiments.md, S18).
constexpr int64_t kAskedRows = 128;
constexpr size_t kNamedByRows = 2;
// In place of an expert that a row chose.
constexpr int32_t kUnwanted = -1;

RouterScore score_of(Routing::Score score) {
    switch (score) {
        case Routing::Score::kSigmoid:
            return RouterScore::kSigmoid;
        case Routing::Score::kSqrtSoftplus:
            return RouterScore::kSqrtSoftplus;
        default:
            return RouterScore::kSoftmax;
    }
}

class MixtureOfExperts : public FeedForward {
  public:
    MixtureOfExperts(const MixtureConfig& config, const FeedForwardContext& context, Trunk& trunk)
        : layer_(context.layer),
          hidden_(context.checkpoint.config().hidden_size),
          width_(config.width(hidden_)),
          config_(config),
          experts_(config, layer_, trunk),
          router_(trunk.weight(layer_, Role::kRouter)) {
        if (config_.router_bias) router_bias_ = trunk.vector(layer_, Role::kRouterBias);
        if (config_.expert_scale) expert_scale_ = trunk.vector(layer_, Role::kExpertScale);
        if (config_.own_norms) take_norms(context, trunk);
        if (config_.routing.corrected) correction_ = trunk.vector(layer_, Role::kRouterCorrection);
        if (config_.routing.by_token) take_table(context, trunk);
        if (config_.latent > 0) {
            latent_ = LatentExperts{.input = trunk.projection(layer_, Role::kExpertsInput),
                                    .output = trunk.projection(layer_, Role::kExpertsOutput)};
        }
        if (config_.shared_intermediate == 0) return;
        shared_ = SharedMlp{
            .gate = config.activation.gated() ? trunk.projection(layer_, Role::kSharedGate) : Weight{},
            .up = trunk.projection(layer_, Role::kSharedUp),
            .down = trunk.projection(layer_, Role::kSharedDown),
            .activation = config.shared_activation ? activation_of(*config.shared_activation) : experts_.activation()};
        if (config_.shared_expert_gated) shared_gate_ = trunk.weight(layer_, Role::kSharedExpertGate);
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override {
        (void)take(rows, workspace);
        const int64_t guessing = std::min(rows, kAskedRows);
        (void)workspace.take(guessing, hidden_);
        (void)take_choice(guessing, workspace);
    }

    bool repeats(const Backend& backend, int64_t rows, const ResidentExperts& resident) const override {
        return backend.routes(rows) && resident.has(layer_);
    }

    const Tensor* router_norm() const override { return norms_ ? &norms_->router : nullptr; }

    void run(Backend& backend, Batch& batch, ExpertFeed& feed, const FeedForwardInput& input, const BlockOutput& out,
             Workspace& workspace) const override {
        Scratch s = take(batch.rows, workspace);
        if (feed.reached != nullptr) {
            if (const Tensor ids = feed.reached->ids(layer_); ids.buffer != nullptr) s.choice.ids = ids;
            return run_resident(backend, batch, feed, feed.reached->layer(layer_), input, s, out);
        }
        if (const ResidentLayer* experts = resident(backend, batch, feed)) {
            return run_resident(backend, batch, feed, *experts, input, s, out);
        }
        const std::vector<int32_t> ids = route(backend, router_input(backend, input, s), batch.ids, s.choice);
        if (feed.trace != nullptr) feed.trace->append(layer_, ids, batch.host_positions);
        std::vector<int32_t> wanted = of_wanted_rows(ids, batch);
        const RowsOfExpert elsewhere = take_elsewhere(feed, wanted);
        const RowsOfExpert rows_of = group_rows(wanted);
        // The reads of all misses are on their way before anything else is computed.
        ExpertStream stream = feed.store->stream(layer_, rows_of.experts, ExpertUse::kAuto, wanted);
        // What was hinted for this layer stays until the layer is done, unless its slots are waited for.
        std::optional<ExpertStream> hinted_before = std::exchange(feed.hinted, std::nullopt);
        if (!stream.admitted()) hinted_before.reset();
        std::vector<ExpertKey> guessed = guess_next(backend, batch, feed.next, input.residual, stream, workspace);
        const Tensor x = experts_input(backend, input, s);
        if (!elsewhere.empty()) send(backend, batch, feed, x, elsewhere, guessed);
        if (feed.elsewhere != nullptr) {
            std::erase_if(guessed, [&](const ExpertKey& key) { return feed.elsewhere->holds(key); });
        }
        if (!batch.shape().is_prompt()) {
            if (!guessed.empty()) feed.store->hint(guessed);
            guessed.clear();
        }
        if (shared_) run_shared(backend, input.x, s);
        put_rows(backend, rows_of, s);
        run_experts(backend, batch, feed, x, s, rows_of, stream, guessed);
        if (!elsewhere.empty() && !batch.all_failed()) receive(backend, batch, feed, s);
        add_up(backend, s, out);
    }

    std::vector<ExpertKey> guess(Backend& backend, const Tensor& x, size_t least_rows,
                                 Workspace& workspace) const override {
        if (config_.routing.by_token) return {};  // x says nothing of it
        return most_chosen(route(backend, x, {}, take_choice(x.rows, workspace)), least_rows);
    }

    // With the norm of that layer in place of this one's, so that it is one more product of the same row.
    void guess_ahead(Backend& backend, const ExpertFeed& feed, const Tensor& x) const override {
        if (!guesses_by_logits()) return;
        make_logits(backend, x, feed.reached->guess(layer_));
    }

    void fetch_ahead(Backend& backend, const ExpertFeed& feed) const override {
        if (!guesses_by_logits()) return;
        backend.run(FetchExperts{.logits = feed.reached->guess(layer_),
                                 .top_k = config_.experts_per_token,
                                 .records = records(feed, feed.reached->layer(layer_))});
    }

    bool decided_by_token() const override { return config_.routing.by_token; }

    std::vector<ExpertKey> experts_of(Backend& backend, std::span<const int32_t> tokens) const override {
        const auto top_k = static_cast<size_t>(config_.experts_per_token);
        std::vector<int32_t> ids(tokens.size() * top_k);
        for (size_t i = 0; i < tokens.size(); ++i) {
            const Tensor row = table_.rows_at(tokens[i], 1);
            backend.download(row.buffer, row.offset, std::as_writable_bytes(std::span(ids).subspan(i * top_k, top_k)));
        }
        backend.wait();
        return most_chosen(ids, 1);
    }

  private:
    struct Choice {
        Tensor logits, ids, weights;
    };
    struct Scratch {
        Choice choice;
        Tensor rows, out_rows;  // I32 [rows * top_k, 1] of the experts, one after the other
        Tensor parts, shared, shared_gate;
        Tensor own_input;  // of router and experts, where they do not read what the block is given
        Tensor sum;        // of experts of another width
    };
    // Projections to what experts read and from what they give together.
    struct LatentExperts {
        Weight input, output;
    };
    struct OwnNorms {
        Tensor router, experts, experts_post, shared_post;
        float epsilon;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        Scratch s;
        s.choice = take_choice(rows, workspace);
        s.rows = workspace.take(rows * config_.experts_per_token, 1, DType::kI32);
        s.out_rows = workspace.take(rows * config_.experts_per_token, 1, DType::kI32);
        s.parts = workspace.take(rows * config_.experts_per_token, width_);
        if (shared_) s.shared = workspace.take(rows, hidden_);
        if (shared_gate_) s.shared_gate = workspace.take(rows, 1);
        if (norms_) s.own_input = workspace.take(rows, hidden_);
        if (latent_) {
            s.own_input = workspace.take(rows, width_);
            s.sum = workspace.take(rows, width_);
        }
        if (config_.weighed_input) s.own_input = workspace.take(rows * config_.experts_per_token, hidden_);
        return s;
    }

    // Experts add up in ascending order.
    void take_table(const FeedForwardContext& context, Trunk& trunk) {
        std::vector<int32_t> table = context.checkpoint.numbers(layer_, Role::kRouterTable, config_.experts);
        const auto top_k = static_cast<std::ptrdiff_t>(config_.experts_per_token);
        for (auto row = table.begin(); row != table.end(); row += top_k) std::sort(row, row + top_k);
        table_ = trunk.upload(table, top_k);
    }

    // The router's norm has a fixed factor beside its weight.
    void take_norms(const FeedForwardContext& context, Trunk& trunk) {
        std::vector<float> router = trunk.values(layer_, Role::kRouterNorm);
        for (float& value : router) value /= std::sqrt(static_cast<float>(hidden_));
        norms_ = OwnNorms{.router = trunk.upload(router, hidden_),
                          .experts = trunk.vector(layer_, Role::kExpertsNorm),
                          .experts_post = trunk.vector(layer_, Role::kExpertsPostNorm),
                          .shared_post = {},
                          .epsilon = static_cast<float>(context.checkpoint.config().rms_norm_epsilon)};
        if (config_.shared_intermediate > 0) norms_->shared_post = trunk.vector(layer_, Role::kSharedPostNorm);
    }

    Tensor router_input(Backend& backend, const FeedForwardInput& input, const Scratch& s) const {
        if (!norms_) return input.x;
        backend.run(
            RmsNorm{.x = input.residual, .weight = norms_->router, .epsilon = norms_->epsilon, .out = s.own_input});
        return s.own_input;
    }

    // What rows of experts are numbers of: see put_rows().
    Tensor experts_input(Backend& backend, const FeedForwardInput& input, const Scratch& s) const {
        if (norms_) {
            backend.run(RmsNorm{
                .x = input.residual, .weight = norms_->experts, .epsilon = norms_->epsilon, .out = s.own_input});
            return s.own_input;
        }
        if (latent_) {
            backend.run(Linear{.x = input.x, .weight = latent_->input, .out = s.own_input});
            return s.own_input;
        }
        if (!config_.weighed_input) return input.x;
        backend.run(WeighRows{.x = input.x, .weights = s.choice.weights, .out = s.own_input});
        return s.own_input;
    }

    // Where branches are normed, each is before they meet.
    void add_up(Backend& backend, const Scratch& s, const BlockOutput& out) const {
        backend.run(CombineExperts{.parts = s.parts,
                                   .weights = config_.weighed_input ? Tensor{} : s.choice.weights,
                                   .out = latent_ ? s.sum : out.rows,
                                   .accumulate = !latent_ && out.accumulate});
        if (latent_) {
            backend.run(Linear{.x = s.sum, .weight = latent_->output, .out = out.rows, .accumulate = out.accumulate});
        }
        if (norms_) norm_in_place(backend, out.rows, norms_->experts_post);
        if (!shared_) return;
        if (norms_) norm_in_place(backend, s.shared, norms_->shared_post);
        backend.run(AddGated{.x = s.shared, .gate = s.shared_gate, .out = out.rows});
    }

    void norm_in_place(Backend& backend, const Tensor& rows, const Tensor& weight) const {
        backend.run(RmsNorm{.x = rows, .weight = weight, .epsilon = norms_->epsilon, .out = rows});
    }

    Choice take_choice(int64_t rows, Workspace& workspace) const {
        return {.logits = workspace.take(rows, config_.experts),
                .ids = workspace.take(rows, config_.experts_per_token, DType::kI32),
                .weights = workspace.take(rows, config_.experts_per_token)};
    }

    // What the next layer would choose if this one's experts added nothing. Of a prompt some rows are asked, and none
    // when everything was here: then it probably will be in the next layer, too.
    static std::vector<ExpertKey> guess_next(Backend& backend, const Batch& batch, const NextFeedForward& next,
                                             const Tensor& residual, const ExpertStream& stream, Workspace& workspace) {
        const bool prompt = batch.shape().is_prompt();
        if (next.block == nullptr || (prompt && !stream.reading())) return {};
        if (next.block->decided_by_token()) return next.block->experts_of(backend, batch.host_ids);
        const size_t least_rows = prompt ? kNamedByRows : 1;
        Tensor sample = residual;
        sample.rows = std::min(batch.rows, kAskedRows);
        sample.row_stride *= batch.rows / sample.rows;
        if (next.norm.buffer == nullptr) return next.block->guess(backend, sample, least_rows, workspace);
        const Tensor normed = workspace.take(sample.rows, sample.columns);
        backend.run(RmsNorm{.x = sample, .weight = next.norm, .epsilon = next.norm_epsilon, .out = normed});
        return next.block->guess(backend, normed, least_rows, workspace);
    }

    // Null: the host has to know what is chosen.
    const ResidentLayer* resident(const Backend& backend, const Batch& batch, const ExpertFeed& feed) const {
        if (feed.resident == nullptr || !backend.routes(batch.rows)) return nullptr;
        return feed.resident->layer(layer_, static_cast<int>(config_.experts), [&batch] { batch.check_cancelled(); });
    }

    void run_resident(Backend& backend, const Batch& batch, const ExpertFeed& feed, const ResidentLayer& experts,
                      const FeedForwardInput& input, const Scratch& s, const BlockOutput& out) const {
        const FeedForward* const next = feed.next.block;
        const bool fetches = next != nullptr && feed.reached != nullptr && feed.reached->fetches();
        make_logits(backend, router_input(backend, input, s), s.choice.logits);
        if (fetches) next->guess_ahead(backend, feed, input.x);
        choose(backend, batch.ids, s.choice);
        if (shared_) run_shared(backend, input.x, s);
        const Tensor x = experts_input(backend, input, s);
        if (feed.reached != nullptr) feed.reached->begin_layer(layer_);
        backend.run(RoutedMlp{.x = x,
                              .ids = s.choice.ids,
                              .records = records(feed, experts),
                              .out = s.parts,
                              .activation = experts_.activation()});
        if (feed.reached != nullptr) feed.reached->end_layer(layer_);
        add_up(backend, s, out);
        if (fetches) next->fetch_ahead(backend, feed);
    }

    ExpertRecords records(const ExpertFeed& feed, const ResidentLayer& experts) const {
        return {.expert = experts_.all(feed.store->layout(layer_), experts.memory),
                .slot_bytes = experts.slot_bytes,
                .slots = experts.slots,
                .more = {experts.more, 0},
                .first_more = experts.first_more,
                .arrivals = feed.reached == nullptr ? ExpertArrivals{} : feed.reached->arrivals(layer_)};
    }

    // Whether a layer's logits alone choose, of the row that its experts read.
    bool guesses_by_logits() const {
        const Routing& routing = config_.routing;
        return !norms_ && !latent_ && !routing.by_token && routing.groups == 1 && !routing.corrected;
    }

    void make_logits(Backend& backend, const Tensor& x, const Tensor& logits) const {
        backend.run(Linear{.x = x, .weight = router_, .bias = router_bias_, .out = logits, .full_precision = true});
    }

    void choose(Backend& backend, const Tensor& tokens, const Choice& s) const {
        const Routing& routing = config_.routing;
        backend.run(Route{.logits = s.logits,
                          .bias = correction_,
                          .expert_scale = expert_scale_,
                          .tokens = tokens,
                          .table = table_,
                          .score = score_of(routing.score),
                          .groups = routing.groups,
                          .groups_kept = routing.groups_kept,
                          .normalize = routing.normalize,
                          .scale = static_cast<float>(routing.scale),
                          .ids = s.ids,
                          .weights = s.weights});
    }

    // The experts of each row, top_k a row.
    std::vector<int32_t> route(Backend& backend, const Tensor& x, const Tensor& tokens, const Choice& s) const {
        make_logits(backend, x, s.logits);
        choose(backend, tokens, s);
        std::vector<int32_t> ids(static_cast<size_t>(x.rows * config_.experts_per_token));
        backend.download(s.ids.buffer, s.ids.offset, std::as_writable_bytes(std::span(ids)));
        backend.wait();
        return ids;
    }

    // The choices without those of sequences that have failed.
    std::vector<int32_t> of_wanted_rows(std::vector<int32_t> ids, const Batch& batch) const {
        const auto top_k = static_cast<size_t>(config_.experts_per_token);
        for (size_t i = 0; i < batch.sequences.size(); ++i) {
            if (!batch.errors[i]) continue;
            const NewRows& rows = batch.sequences[i];
            const auto first = ids.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(rows.first_row) * top_k);
            std::fill_n(first, static_cast<size_t>(rows.count) * top_k, kUnwanted);
        }
        return ids;
    }

    // The experts of all these choices that at least so many make, those of most first.
    std::vector<ExpertKey> most_chosen(const std::vector<int32_t>& ids, size_t least_rows) const {
        const RowsOfExpert rows_of = group_rows(ids);
        std::vector<size_t> order(rows_of.experts.size());
        std::iota(order.begin(), order.end(), 0);
        std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return rows_of.count(i); });
        std::vector<ExpertKey> experts;
        for (const size_t i : order) {
            if (rows_of.count(i) >= least_rows) experts.push_back({layer_, rows_of.experts[i]});
        }
        return experts;
    }

    RowsOfExpert group_rows(const std::vector<int32_t>& ids) const {
        std::vector<std::vector<int32_t>> by_expert(static_cast<size_t>(config_.experts));
        for (size_t i = 0; i < ids.size(); ++i) {
            if (ids[i] == kUnwanted) continue;
            by_expert[static_cast<size_t>(ids[i])].push_back(static_cast<int32_t>(i));
        }
        RowsOfExpert result;
        for (size_t e = 0; e < by_expert.size(); ++e) {
            if (by_expert[e].empty()) continue;
            result.experts.push_back(static_cast<int>(e));
            result.entries.insert(result.entries.end(), by_expert[e].begin(), by_expert[e].end());
            result.first.push_back(result.entries.size());
        }
        return result;
    }

    // Tells the backend which rows of x and of the experts' outputs belong to each; of weighed inputs every choice has
    // its own.
    void put_rows(Backend& backend, const RowsOfExpert& rows_of, const Scratch& s) const {
        const std::vector<int32_t> rows = rows_read(rows_of);
        backend.upload(s.rows.buffer, s.rows.offset, std::as_bytes(std::span(rows)));
        backend.upload(s.out_rows.buffer, s.out_rows.offset, std::as_bytes(std::span(rows_of.entries)));
    }

    // Parts what is held elsewhere from the choices.
    RowsOfExpert take_elsewhere(const ExpertFeed& feed, std::vector<int32_t>& choices) const {
        if (feed.elsewhere == nullptr) return {};
        const RowsOfExpert all = group_rows(choices);
        const std::vector<bool> elsewhere = feed.elsewhere->choose(layer_, all);
        RowsOfExpert others;
        for (size_t i = 0; i < all.experts.size(); ++i) {
            if (!elsewhere[i]) continue;
            others.add(all.experts[i], all.of(i));
            for (const int32_t entry : all.of(i)) choices[static_cast<size_t>(entry)] = kUnwanted;
        }
        return others;
    }

    // The rows of x that entries read.
    std::vector<int32_t> rows_read(const RowsOfExpert& rows_of) const {
        const auto top_k = static_cast<int32_t>(config_.experts_per_token);
        std::vector<int32_t> rows;
        for (const int32_t entry : rows_of.entries) rows.push_back(config_.weighed_input ? entry : entry / top_k);
        return rows;
    }

    void send(Backend& backend, const Batch& batch, const ExpertFeed& feed, const Tensor& x,
              const RowsOfExpert& rows_of, std::span<const ExpertKey> guessed) const {
        std::vector<float> values(static_cast<size_t>(x.rows * x.columns));
        backend.download(x.buffer, x.offset, std::as_writable_bytes(std::span(values)));
        backend.wait();
        feed.elsewhere->begin({.layer = layer_,
                               .rows_of = rows_of,
                               .rows = rows_read(rows_of),
                               .x = values,
                               .columns = static_cast<size_t>(x.columns),
                               .prompt = batch.shape().is_prompt(),
                               .hints = guessed});
    }

    // Rows that were computed elsewhere take their places beside the others.
    void receive(Backend& backend, Batch& batch, const ExpertFeed& feed, const Scratch& s) const {
        feed.elsewhere->finish({.take =
                                    [&](int32_t entry, std::span<const float> row) {
                                        const Tensor part = s.parts.rows_at(entry, 1);
                                        backend.upload(part.buffer, part.offset, std::as_bytes(row));
                                    },
                                .fail = [&](std::span<const int32_t> entries,
                                            const std::exception_ptr& error) { note_failure(batch, entries, error); },
                                .meanwhile = [&] { batch.check_cancelled(); }});
    }

    void run_shared(Backend& backend, const Tensor& x, const Scratch& s) const {
        backend.run(shared_->operation(x, s.shared));
        if (shared_gate_) {
            backend.run(Linear{.x = x, .weight = *shared_gate_, .out = s.shared_gate, .full_precision = true});
        }
    }

    // `hints`: of the next layer's, for the time when the drive has nothing else to read.
    void run_experts(Backend& backend, Batch& batch, ExpertFeed& feed, const Tensor& x, const Scratch& s,
                     const RowsOfExpert& rows_of, ExpertStream& stream, std::span<const ExpertKey> hints) const {
        ExpertRun run{.store = *feed.store,
                      .stream = stream,
                      .rows_of = rows_of,
                      .x = x,
                      .rows = s.rows,
                      .out_rows = s.out_rows,
                      .out = s.parts,
                      .drive_idle = {},
                      .failed = [&](std::span<const int32_t> entries,
                                    const std::exception_ptr& error) { note_failure(batch, entries, error); },
                      .go_on =
                          [&] {
                              if (batch.all_failed()) return false;
                              batch.check_cancelled();
                              return true;
                          }};
        if (!hints.empty()) run.drive_idle = [&feed, hints] { feed.hint_scan(hints); };
        experts_.run(backend, std::move(run));
    }

    // Only the sequences that needed the expert are lost; the others' rows are complete.
    void note_failure(Batch& batch, std::span<const int32_t> entries, const std::exception_ptr& error) const {
        for (size_t i = 0; i < batch.sequences.size(); ++i) {
            const NewRows& rows = batch.sequences[i];
            const int64_t begin = rows.first_row * config_.experts_per_token;
            const int64_t end = (rows.first_row + rows.count) * config_.experts_per_token;
            const bool touched = std::any_of(entries.begin(), entries.end(),
                                             [&](int32_t entry) { return entry >= begin && entry < end; });
            if (touched && !batch.errors[i]) batch.errors[i] = error;
        }
    }

    int layer_;
    int64_t hidden_;
    int64_t width_;  // of what experts read and give
    MixtureConfig config_;
    ExpertLayer experts_;
    Weight router_;
    Tensor correction_, router_bias_, expert_scale_;
    Tensor table_;  // I32 [vocabulary, top_k], of a router that a table decides
    std::optional<OwnNorms> norms_;
    std::optional<LatentExperts> latent_;
    std::optional<SharedMlp> shared_;
    std::optional<Weight> shared_gate_;
};

}  // namespace

std::unique_ptr<FeedForward> make_feed_forward(const MixtureConfig& config, const FeedForwardContext& context,
                                               Trunk& trunk) {
    return std::make_unique<MixtureOfExperts>(config, context, trunk);
}

}  // namespace sluice
