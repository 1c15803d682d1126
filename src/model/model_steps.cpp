// Steps of the model that repeat: see RecordedStep.

#include <algorithm>
#include <utility>

#include "model/model.h"

namespace sluice {

namespace {

// A step of more sequences takes so long that handing its operations over does not show.
constexpr int64_t kMostStepRows = 64;

}  // namespace

RecordedStep* Model::step_of(const Batch& batch, const ExpertFeed& feed, std::span<const ForwardInput> inputs) {
    const auto repeats = [&](const ForwardInput& input) {
        return input.ids.size() == 1 && input.logit_rows.size() == 1 && !input.hidden &&
               input.likeliest_of == inputs.front().likeliest_of;
    };
    const int64_t most_rows = inputs.front().likeliest_of > 0 ? kMostStepRows : head_rows();
    if (!repeats_ || batch.rows > most_rows || !std::ranges::all_of(inputs, repeats)) return nullptr;
    const auto known = [&](const Layer& layer) {
        return feed.reached != nullptr || layer.feed_forward == nullptr ||
               layer.feed_forward->repeats(backend_, batch.rows, *resident_);
    };
    if (!std::ranges::all_of(layers_, known)) return nullptr;
    return &recorded_step(batch, inputs.front(), feed.reached != nullptr);
}

RecordedStep& Model::recorded_step(const Batch& batch, const ForwardInput& input, bool reached) {
    return steps_.find({.rows = batch.rows,
                        .most_tokens = batch.table.most_tokens,
                        .table_pages = static_cast<int64_t>(table_pages_),
                        .likeliest_of = input.likeliest_of,
                        .drawn = batch.draws.buffer != nullptr,
                        .reached = reached},
                       inputs_workspace_.buffer(), workspace_.buffer());
}

void Model::record(RecordedStep& step, Batch& batch, ExpertFeed& feed, const Rows& rows,
                   std::span<const ForwardInput> inputs, std::vector<ForwardOutput>& outputs) {
    backend_.begin_recording();
    try {
        const Tensor last = run_layers(batch, feed, rows, inputs, outputs);
        workspace_.reset();
        if (const int64_t tokens = inputs.front().likeliest_of; tokens > 0) {
            step.likeliest = choose_tokens(batch, last, tokens);
        } else {
            step.logits = workspace_.take(batch.rows, head_.rows);
            make_logits(last, step.logits);
        }
    } catch (...) {
        (void)backend_.end_recording();
        throw;
    }
    step.recording = backend_.end_recording();
}

// Where the next step finds them.
Tensor Model::choose_tokens(const Batch& batch, const Tensor& normed, int64_t tokens) {
    const Tensor chosen = batch.ids;
    const int64_t at_once = std::min(batch.rows, head_rows());
    const Tensor logits = workspace_.take(at_once, head_.rows);
    for (int64_t first = 0; first < batch.rows; first += at_once) {
        const int64_t count = std::min(at_once, batch.rows - first);
        make_logits(normed.rows_at(first, count), logits.rows_at(0, count));
        const Tensor x = logits.rows_at(0, count).columns_at(0, tokens), out = chosen.rows_at(first, count);
        if (batch.draws.buffer == nullptr) {
            backend_.run(ArgMax{.x = x, .out = out});
        } else {
            backend_.run(DrawToken{.x = x, .settings = batch.draws.rows_at(first, count), .out = out});
        }
    }
    return chosen;
}

bool Model::repeat(RecordedStep& step, Batch& batch, ExpertFeed& feed, const Rows& rows,
                   std::span<const ForwardInput> inputs, std::vector<ForwardOutput>& outputs) {
    if (!std::exchange(step.ran, true)) return false;
    if (step.recording == nullptr || !backend_.replay(*step.recording)) {
        record(step, batch, feed, rows, inputs, outputs);
        if (step.recording == nullptr || !backend_.replay(*step.recording)) return false;
    }
    if (step.likeliest.buffer != nullptr) {
        std::fill_n(placed_.numbers.begin(), inputs.size(), kNoToken);  // tokens are drawn there
        if (inputs.size() == 1 && feed.reached == nullptr) {
            StepAhead now;
            ask_for_token(step, now);
            outputs[0].likeliest = finish_step(inputs.front(), now);
            return true;
        }
        std::vector<int32_t> chosen(inputs.size(), -1);
        backend_.download(step.likeliest.buffer, step.likeliest.offset, std::as_writable_bytes(std::span(chosen)));
        backend_.wait();
        for (size_t i = 0; i < inputs.size(); ++i) outputs[i].likeliest = chosen[i];
        return true;
    }
    const auto vocabulary = static_cast<size_t>(head_.rows);
    for (size_t i = 0; i < inputs.size(); ++i) {
        outputs[i].logits.resize(vocabulary);
        backend_.download(step.logits.buffer, step.logits.offset + i * vocabulary * sizeof(float),
                          std::as_writable_bytes(std::span(outputs[i].logits)));
    }
    return true;
}

bool Model::begin_reach(const Batch& batch) {
    return reached_ && reached_->begin(batch.rows, batch.shape().is_prompt(), [&batch] { batch.check_cancelled(); });
}

void Model::count_resident(int64_t rows) {
    const ModelConfig& config = checkpoint_->config();
    uint64_t choices = 0;
    for (int l = 0; l < config.layer_count(); ++l) {
        const MixtureConfig* mixture = config.mixture_of(l);
        if (mixture == nullptr || !layers_[static_cast<size_t>(l)].feed_forward->repeats(backend_, rows, *resident_)) {
            continue;
        }
        choices += static_cast<uint64_t>(std::min<int64_t>(rows * mixture->experts_per_token, mixture->experts));
    }
    if (choices > 0) experts_->count_hits(choices);
}

}  // namespace sluice
