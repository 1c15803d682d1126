#include "model/model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "checkpoint/weights.h"
#include "model/head_bytes.h"
#include "model/implemented.h"

namespace sluice {

namespace {

ReachedExperts::Sizes layers_with_experts(const ModelConfig& config) {
    ReachedExperts::Sizes sizes{
        .layers = {}, .experts = config.experts(), .experts_per_token = config.experts_per_token()};
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        if (config.mixture_of(layer) != nullptr) sizes.layers.push_back(layer);
    }
    return sizes;
}

}  // namespace

void Batch::check_cancelled() const {
    if (hook != nullptr && !(*hook)(running_layer, layers)) fail(ErrorCode::kCancelled, "stopped by the caller");
}

Model::Model(std::shared_ptr<const Checkpoint> checkpoint, Backend& backend, KvFormat kv_format, TrunkForm form)
    : checkpoint_(std::move(checkpoint)), backend_(backend), inputs_workspace_(backend), workspace_(backend) {
    const ModelConfig& config = checkpoint_->config();
    require_implemented(config, checkpoint_->config_label());
    Trunk trunk(*checkpoint_, backend, form);
    const bool tied = config.tied_embeddings;
    embedding_ = tied ? trunk.projection(kNoLayer, Role::kEmbedding) : trunk.weight(kNoLayer, Role::kEmbedding);
    head_ = tied ? embedding_ : trunk.projection(kNoLayer, Role::kHead);
    if (config.final_norm) final_norm_ = trunk.vector(kNoLayer, Role::kFinalNorm);
    residual_ = std::visit([&](const auto& kind) { return make_residual(kind, config, trunk); }, config.residual);
    const auto epsilon = static_cast<float>(config.rms_norm_epsilon);
    for (int l = 0; l < config.layer_count(); ++l) {
        const LayerConfig& block = config.layers[static_cast<size_t>(l)];
        const MixerContext mixer{.layer = l, .epsilon = epsilon, .kv_format = kv_format};
        const FeedForwardContext feed_forward{.checkpoint = *checkpoint_, .layer = l};
        Layer layer{
            .mixer_norm = block.mixes() && block.norms.before ? trunk.vector(l, Role::kMixerNorm) : Tensor{},
            .feed_forward_norm = block.feeds_forward() && block.norms.before
                                     ? trunk.vector(l, norm_before_feed_forward(block))
                                     : Tensor{},
            .mixer_post_norm = {},
            .feed_forward_post_norm = {},
            .mixer = std::visit([&](const auto& kind) { return make_mixer(kind, mixer, trunk); }, block.mixer),
            .feed_forward = std::visit([&](const auto& kind) { return make_feed_forward(kind, feed_forward, trunk); },
                                       block.feed_forward)};
        if (block.norms.after) {
            layer.mixer_post_norm = trunk.vector(l, Role::kMixerPostNorm);
            layer.feed_forward_post_norm = trunk.vector(l, Role::kFeedForwardPostNorm);
        }
        if (const auto* attention = block_of<LatentAttentionConfig>(block)) {
            selected_tokens_ = std::max(selected_tokens_, attention->indexer.most_seen());
        }
        if (const auto* attention = block_of<GroupedAttentionConfig>(block)) {
            selected_tokens_ = std::max(selected_tokens_, attention->indexer.most_seen());
            if (attention->indexer.own()) run_tokens_.insert(attention->indexer.pool);
        }
        if (const auto* attention = block_of<CompressedAttentionConfig>(block)) {
            if (attention->ratio > 0) run_tokens_.insert(attention->ratio);
        }
        if (block.scaled) layer.scale = trunk.values(l, Role::kLayerScale).front();
        std::vector<StatePart>& parts = state_parts_.emplace_back();
        if (layer.mixer != nullptr) parts = layer.mixer->state_parts();
        if (block.ngrams.any()) {
            layer.ngrams = std::make_unique<NGrams>(*checkpoint_, l, parts.size(), trunk);
            for (StatePart& part : layer.ngrams->state_parts()) parts.push_back(std::move(part));
        }
        layers_.push_back(std::move(layer));
    }
    checkpoint_->check_mappings();
}

void Model::use_experts(ExpertStore& experts, RoutingTrace* trace, ExpertsElsewhere* elsewhere) {
    experts_ = &experts;
    elsewhere_ = elsewhere;
    trace_ = trace;
    // Whose experts are elsewhere, and who writes down what is chosen, has to know the choices on the host.
    const bool unseen = trace == nullptr && elsewhere == nullptr;
    if (unseen) resident_.emplace(backend_, experts);
    reached_.reset();
    if (unseen && backend_.reaches() && checkpoint_->config().experts() > 0) {
        reached_.emplace(backend_, experts, layers_with_experts(checkpoint_->config()));
    }
    const auto repeats = [](const Layer& layer) {
        return layer.ngrams == nullptr && (layer.mixer == nullptr || layer.mixer->repeats());
    };
    repeats_ = unseen && backend_.records() && std::ranges::all_of(layers_, repeats);
    drop_ahead();
    goes_ahead_ = can_go_ahead();
}

void Model::use_states(StatePoolSize size, int64_t context) {
    const int64_t least = (context + kKvPageTokens - 1) / kKvPageTokens;
    table_pages_ = static_cast<size_t>(std::max<int64_t>(least, 1));
    for (;; size.pages = std::max(size.pages / 2, least), size.slots = std::max<int64_t>(size.slots / 2, 1)) {
        try {
            states_ = std::make_shared<StatePool>(backend_, state_parts_, size);
            return set_give_up_states({});
        } catch (const Error& error) {
            if (error.code() != ErrorCode::kOutOfMemory || (size.pages <= least && size.slots == 1)) throw;
        }
    }
}

std::unique_ptr<SequenceState> Model::new_state() {
    if (states_ == nullptr) {
        states_ = std::make_shared<StatePool>(backend_, state_parts_, StatePoolSize{});
        set_give_up_states({});
    }
    return std::make_unique<SequenceState>(states_);
}

int64_t Model::head_rows() const {
    const int64_t bytes = head_bytes(backend_.own_memory_bytes().has_value());
    return std::max<int64_t>(1, bytes / (head_.rows * static_cast<int64_t>(sizeof(float))));
}

uint64_t Model::scratch_bytes(int64_t rows) const {
    const int64_t hidden = checkpoint_->config().hidden_size;
    Workspace blocks;
    uint64_t rows_read = 0;
    for (const Layer& layer : layers_) {
        blocks.reset();
        if (layer.ngrams != nullptr) {
            layer.ngrams->take_scratch(rows, blocks);
            rows_read += layer.ngrams->fetch_bytes(rows);
            blocks.reset();
        }
        if (layer.mixer != nullptr) layer.mixer->take_scratch(rows, blocks);
        blocks.reset();
        if (layer.feed_forward != nullptr) layer.feed_forward->take_scratch(rows, blocks);
    }
    blocks.reset();
    const int64_t logit_rows = std::min(rows, head_rows());
    blocks.take(logit_rows, 1, DType::kI32);
    blocks.take(logit_rows, hidden);
    blocks.take(logit_rows, head_.rows);
    Workspace pass;
    (void)take_rows(rows, pass);
    pass.take(rows, selected_tokens_, DType::kI32);
    return blocks.peak_bytes() + pass.peak_bytes() + rows_read;
}

uint64_t Model::context_scratch_bytes(int64_t tokens, size_t threads) const {
    uint64_t bytes = 0;
    for (const Layer& layer : layers_) {
        if (layer.mixer != nullptr) bytes = std::max(bytes, layer.mixer->context_scratch_bytes(tokens, threads));
    }
    return bytes;
}

void Model::tap_hidden(const Batch& batch, const Tensor& rows, std::span<const ForwardInput> inputs,
                       std::vector<ForwardOutput>& outputs) {
    for (size_t i = 0; i < inputs.size(); ++i) {
        if (!inputs[i].hidden) continue;
        const Tensor part = rows.rows_at(batch.sequences[i].first_row, batch.sequences[i].count);
        auto& values = outputs[i].hidden.emplace_back(static_cast<size_t>(part.rows * part.columns));
        backend_.download(part.buffer, part.offset, std::as_writable_bytes(std::span(values)));
        backend_.wait();
    }
}

NextFeedForward Model::next_of_layer(size_t layer) const {
    const auto feeds = [](const Layer& other) { return other.feed_forward != nullptr; };
    const auto found = std::find_if(layers_.begin() + static_cast<std::ptrdiff_t>(layer) + 1, layers_.end(), feeds);
    if (found == layers_.end()) return {};
    const Layer& next = *found;
    const Tensor* own = next.feed_forward->router_norm();
    return {.block = next.feed_forward.get(),
            .norm = own == nullptr ? next.feed_forward_norm : *own,
            .norm_epsilon = static_cast<float>(checkpoint_->config().rms_norm_epsilon)};
}

NextFeedForward Model::next_feed_forward(size_t layer, const Batch& batch) const {
    const NextFeedForward next = next_of_layer(layer);
    BatchShape shape = batch.shape();
    shape.last_layer = next.block == nullptr;
    if (shape.last_layer) return {};
    const bool pays = experts_->look_ahead(shape).hints;
    if (!pays && !(experts_->looks_ahead() && next.block->decided_by_token())) return {};
    return next;
}

// What tokens alone decide of the first layers is read while what stands before their experts is computed; of a prompt,
// which takes nearly all of a layer, that of the first.
void Model::foretell(const Batch& batch, ExpertFeed& feed) {
    if (feed.reached != nullptr || !experts_->looks_ahead()) return;
    const bool prompt = batch.shape().is_prompt();
    std::vector<ExpertKey> experts;
    for (const Layer& layer : layers_) {
        if (layer.feed_forward == nullptr) continue;
        if (!layer.feed_forward->decided_by_token() || (prompt && !experts.empty())) break;
        const std::vector<ExpertKey> known = layer.feed_forward->experts_of(backend_, batch.host_ids);
        experts.insert(experts.end(), known.begin(), known.end());
    }
    if (elsewhere_ != nullptr) std::erase_if(experts, [&](const ExpertKey& key) { return elsewhere_->holds(key); });
    if (experts.empty()) return;
    if (prompt) {
        feed.hint_scan(experts);
    } else {
        experts_->hint(experts);
    }
}

Model::Rows Model::take_rows(int64_t rows, Workspace& workspace) const {
    return {.residual = residual_->take(rows, workspace),
            .normed = workspace.take(rows, checkpoint_->config().hidden_size)};
}

Tensor Model::norm(const Tensor& weight, const Rows& rows) {
    if (weight.buffer == nullptr) return rows.residual.read;
    const auto epsilon = static_cast<float>(checkpoint_->config().rms_norm_epsilon);
    backend_.run(RmsNorm{.x = rows.residual.read, .weight = weight, .epsilon = epsilon, .out = rows.normed});
    return rows.normed;
}

BlockOutput Model::output_of(const Tensor& post_norm, const Rows& rows) const {
    if (residual_->plain() && post_norm.buffer == nullptr) return {.rows = rows.residual.streams};
    return {.rows = rows.residual.added, .accumulate = false};
}

void Model::add_output(const BlockPlace& place, const Tensor& post_norm, const Rows& rows) {
    if (residual_->plain() && post_norm.buffer == nullptr) return;
    const Tensor& added = rows.residual.added;
    if (post_norm.buffer != nullptr) {
        const auto epsilon = static_cast<float>(checkpoint_->config().rms_norm_epsilon);
        backend_.run(RmsNorm{.x = added, .weight = post_norm, .epsilon = epsilon, .out = added});
    }
    residual_->add(backend_, place, rows.residual);
}

void Model::run_mixer(size_t index, const Batch& batch, const Rows& rows) {
    const Layer& layer = layers_[index];
    const BlockPlace place{.layer = index, .part = LayerPart::kMixer};
    residual_->read(backend_, place, rows.residual);
    const Tensor x = norm(layer.mixer_norm, rows);
    workspace_.reset();
    layer.mixer->run(backend_, batch, x, output_of(layer.mixer_post_norm, rows), workspace_);
    add_output(place, layer.mixer_post_norm, rows);
}

void Model::run_feed_forward(size_t index, Batch& batch, ExpertFeed& feed, const Rows& rows) {
    const Layer& layer = layers_[index];
    const BlockPlace place{.layer = index, .part = LayerPart::kFeedForward};
    residual_->read(backend_, place, rows.residual);
    const Tensor x = norm(layer.feed_forward_norm, rows);
    workspace_.reset();
    feed.next = feed.reached != nullptr ? next_of_layer(index) : next_feed_forward(index, batch);
    layer.feed_forward->run(backend_, batch, feed, {.x = x, .residual = rows.residual.read},
                            output_of(layer.feed_forward_post_norm, rows), workspace_);
    add_output(place, layer.feed_forward_post_norm, rows);
}

void Model::open_row_tables() {
    for (size_t l = 0; l < layers_.size(); ++l) {
        if (layers_[l].ngrams == nullptr) continue;
        const int layer = static_cast<int>(l);
        own_row_tables_[layer] = std::make_unique<RowTable>(RowTableFiles::of(*checkpoint_, layer), RowTableOptions{});
    }
    row_tables_ = &own_row_tables_;
}

std::vector<RowFetch> Model::fetch_rows(const Batch& batch, std::span<const ForwardInput> inputs) {
    std::vector<RowFetch> fetches(layers_.size());
    if (row_tables_ == nullptr) open_row_tables();
    if (row_tables_->empty()) return fetches;
    std::vector<std::span<const int32_t>> ids;
    for (const ForwardInput& input : inputs) ids.push_back(input.ids);
    for (const auto& [layer, table] : *row_tables_) {
        const auto index = static_cast<size_t>(layer);
        fetches[index] = layers_[index].ngrams->fetch(backend_, batch, ids, *table);
    }
    return fetches;
}

void Model::run_layer(size_t index, Batch& batch, ExpertFeed& feed, const Rows& rows) {
    const Layer& layer = layers_[index];
    if (layer.ngrams != nullptr) {
        workspace_.reset();
        layer.ngrams->run(backend_, batch, feed.rows[index], rows.residual.streams, workspace_);
        if (batch.all_failed()) return;
    }
    if (layer.mixer != nullptr) run_mixer(index, batch, rows);
    if (layer.feed_forward != nullptr) run_feed_forward(index, batch, feed, rows);
    if (layer.scale != 1) backend_.run(Scale{.x = rows.residual.streams, .factor = layer.scale});
}

void Model::embed(const Batch& batch, const Rows& rows) {
    const ModelConfig& config = checkpoint_->config();
    const Tensor& streams = rows.residual.streams;
    for (int64_t stream = 0; stream < residual_->count(); ++stream) {
        const Tensor out = streams.columns_at(stream * config.hidden_size, config.hidden_size);
        backend_.run(Embed{.ids = batch.ids, .table = embedding_, .out = out});
    }
    if (config.embedding_scale == 1) return;
    backend_.run(Scale{.x = streams, .factor = static_cast<float>(config.embedding_scale)});
}

Tensor Model::run_layers(Batch& batch, ExpertFeed& feed, const Rows& rows, std::span<const ForwardInput> inputs,
                         std::vector<ForwardOutput>& outputs) {
    embed(batch, rows);
    tap_hidden(batch, rows.residual.streams, inputs, outputs);
    for (size_t l = 0; l < layers_.size(); ++l) {
        batch.running_layer = static_cast<int64_t>(l);
        batch.check_cancelled();
        run_layer(l, batch, feed, rows);
        if (batch.all_failed()) return rows.normed;
        if (l + 1 < layers_.size()) tap_hidden(batch, rows.residual.streams, inputs, outputs);
    }
    residual_->end(backend_, rows.residual);
    const Tensor last = norm(final_norm_, rows);
    tap_hidden(batch, last, inputs, outputs);
    return last;
}

void Model::make_logits(const Tensor& normed, const Tensor& logits) {
    backend_.run(Linear{.x = normed, .weight = head_, .out = logits});
    const auto cap = static_cast<float>(checkpoint_->config().logit_cap);
    if (cap != 0) backend_.run(Scale{.x = logits, .cap = cap});
}

void Model::run_head(const Batch& batch, const Tensor& normed, std::span<const ForwardInput> inputs,
                     std::vector<ForwardOutput>& outputs) {
    struct Wanted {
        int32_t row;
        float* target;
    };
    std::vector<Wanted> wanted;
    const auto vocabulary = static_cast<size_t>(head_.rows);
    for (size_t i = 0; i < inputs.size(); ++i) {
        const auto& rows = inputs[i].logit_rows;
        outputs[i].logits.resize(rows.size() * vocabulary);
        for (size_t r = 0; r < rows.size(); ++r) {
            wanted.push_back({static_cast<int32_t>(batch.sequences[i].first_row) + rows[r],
                              outputs[i].logits.data() + r * vocabulary});
        }
    }
    const auto at_once = static_cast<size_t>(head_rows());
    for (size_t begin = 0; begin < wanted.size(); begin += at_once) {
        const size_t count = std::min(at_once, wanted.size() - begin);
        batch.check_cancelled();
        workspace_.reset();
        std::vector<int32_t> numbers;
        for (size_t i = 0; i < count; ++i) numbers.push_back(wanted[begin + i].row);
        const Tensor rows = workspace_.put(numbers);
        const Tensor gathered = workspace_.take(rows.rows, normed.columns);
        backend_.run(GatherRows{.x = normed, .rows = rows, .out = gathered});
        const Tensor logits = workspace_.take(gathered.rows, head_.rows);
        make_logits(gathered, logits);
        for (size_t i = 0; i < count; ++i) {
            backend_.download(logits.buffer, logits.offset + i * vocabulary * sizeof(float),
                              std::as_writable_bytes(std::span(wanted[begin + i].target, vocabulary)));
        }
        backend_.wait();
    }
}

namespace {

// Lets the hook end a pass inside an operation, too. What was queued has ended when this is gone, but for a step ahead.
class Watch {
  public:
    Watch(Backend& backend, const Batch& batch, const std::optional<StepAhead>& ahead)
        : backend_(backend), ahead_(ahead) {
        if (batch.hook == nullptr) return;
        backend_.set_go_on([&batch] { return (*batch.hook)(batch.running_layer, batch.layers); });
    }
    ~Watch() {
        backend_.set_go_on({});
        if (ahead_) return;
        try {
            backend_.wait();
        } catch (...) {  // the pass is left by an exception already
        }
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

  private:
    Backend& backend_;
    const std::optional<StepAhead>& ahead_;
};

// A pass that reaches both tiers, or another; whatever it throws, what it read stays until it has ended.
class ReachedPass {
  public:
    explicit ReachedPass(ReachedExperts* experts) : experts_(experts) {}
    ~ReachedPass() {
        if (experts_ != nullptr) experts_->end(complete_);
    }
    ReachedPass(const ReachedPass&) = delete;
    ReachedPass& operator=(const ReachedPass&) = delete;

    ReachedExperts* get() const { return experts_; }
    void handed_over() {
        if (experts_ != nullptr) experts_->handed_over();
    }
    void complete() { complete_ = true; }

  private:
    ReachedExperts* experts_;
    bool complete_ = false;
};

}  // namespace

std::vector<ForwardOutput> Model::forward(std::span<const ForwardInput> inputs, const PassHook& hook) {
    try {
        if (is_ahead(inputs)) return follow(inputs.front());
        drop_ahead();
        return evaluate(inputs, hook);
    } catch (...) {
        drop_ahead();
        placed_ = {};
        throw;
    }
}

std::vector<ForwardOutput> Model::evaluate(std::span<const ForwardInput> inputs, const PassHook& hook) {
    inputs_workspace_.reset();
    workspace_.reset();
    std::vector<ForwardOutput> outputs(inputs.size());
    Batch batch = make_batch(inputs);
    batch.hook = hook ? &hook : nullptr;
    batch.layers = static_cast<int64_t>(layers_.size());
    const Rows rows = take_rows(batch.rows, inputs_workspace_);
    if (selected_tokens_ > 0) {
        batch.selected = inputs_workspace_.take(batch.rows, selected_tokens_, DType::kI32);
    }
    ReachedPass reached(begin_reach(batch) ? &*reached_ : nullptr);
    const Watch watch(backend_, batch, ahead_);  // goes before: then nothing runs any more
    ExpertFeed feed{.store = experts_,
                    .elsewhere = elsewhere_,
                    .trace = trace_,
                    .resident = resident_ ? &*resident_ : nullptr,
                    .reached = reached.get(),
                    .next = {},
                    .rows = fetch_rows(batch, inputs),
                    .hinted = {}};
    foretell(batch, feed);
    RecordedStep* const step = step_of(batch, feed, inputs);
    if (step == nullptr || !repeat(*step, batch, feed, rows, inputs, outputs)) {
        const Tensor last = run_layers(batch, feed, rows, inputs, outputs);
        if (!batch.all_failed()) run_head(batch, last, inputs, outputs);
    }
    reached.handed_over();
    if (!ahead_) backend_.wait();
    reached.complete();
    if (resident_ && reached.get() == nullptr) count_resident(batch.rows);
    checkpoint_->check_mappings();
    for (size_t i = 0; i < inputs.size(); ++i) {
        if (batch.errors[i]) {
            outputs[i] = ForwardOutput{.logits = {}, .hidden = {}, .error = batch.errors[i]};
        } else {
            inputs[i].state->advance(static_cast<int64_t>(inputs[i].ids.size()));
        }
    }
    if (ahead_) ahead_->version = inputs.front().state->version();
    return outputs;
}

}  // namespace sluice
