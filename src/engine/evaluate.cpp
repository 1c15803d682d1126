#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/softmax_weights.h"

namespace sluice {

// A sequence of a batch and how many of its new tokens are evaluated.
struct Engine::Impl::Pending {
    const SequenceInput* input;
    size_t output;
    int64_t done = 0;

    int64_t remaining() const { return static_cast<int64_t>(input->tokens.size()) - done; }
};

namespace {

std::vector<int32_t> rows_with_logits(LogitsWanted wanted, int64_t count, bool last_part) {
    std::vector<int32_t> rows;
    if (wanted == LogitsWanted::kAll) {
        for (int32_t r = 0; r < count; ++r) rows.push_back(r);
    } else if (wanted == LogitsWanted::kLast && last_part) {
        rows.push_back(static_cast<int32_t>(count - 1));
    }
    return rows;
}

void append_hidden(std::vector<std::vector<float>>& target, std::vector<std::vector<float>>&& part) {
    if (target.empty()) {
        target = std::move(part);
        return;
    }
    for (size_t l = 0; l < target.size(); ++l) target[l].insert(target[l].end(), part[l].begin(), part[l].end());
}

}  // namespace

void Engine::Impl::check(const SequenceInput& input) const {
    if (input.session == nullptr) fail(ErrorCode::kUsage, "a batch names no session");
    if (input.tokens.empty()) fail(ErrorCode::kUsage, "no tokens to evaluate: the prompt is empty");
    for (const TokenId id : input.tokens) {
        if (id < 0 || id >= info.vocabulary) {
            fail(ErrorCode::kUsage, "token id {} is outside the model's vocabulary of {}", id, info.vocabulary);
        }
    }
}

void Engine::Impl::check_finite(const std::vector<float>& logits) const {
    if (all_finite(logits)) return;
    const std::optional<std::string> culprit = checkpoint->find_non_finite();
    fail(ErrorCode::kInvalidFile, "the logits are not finite: {}",
         culprit ? *culprit : "every weight is finite, so an activation overflowed; try --exact");
}

void Engine::Impl::step(std::vector<Pending>& pending, std::vector<SequenceOutput>& outputs) {
    std::vector<ForwardInput> inputs;
    std::vector<Pending*> taken;
    int64_t budget = info.chunk;
    for (Pending& p : pending) {
        // A sequence is cut where it would be cut alone, so that company changes no bit; what does not fit waits.
        const int64_t count = std::min(p.remaining(), info.chunk);
        if (count == 0 || (count > budget && !taken.empty())) continue;
        budget -= count;
        inputs.push_back({.state = p.input->session->impl_->state.get(),
                          .ids = p.input->tokens.subspan(static_cast<size_t>(p.done), static_cast<size_t>(count)),
                          .logit_rows = rows_with_logits(p.input->logits, count, count == p.remaining()),
                          .hidden = p.input->hidden});
        taken.push_back(&p);
    }
    std::vector<ForwardOutput> results;
    try {
        results = model->forward(inputs);
        for (const ForwardOutput& result : results) check_finite(result.logits);
    } catch (...) {
        for (const Pending* p : taken) p->input->session->impl_->discard_step();
        throw;
    }
    for (size_t i = 0; i < taken.size(); ++i) {
        Session::Impl& session = *taken[i]->input->session->impl_;
        SequenceOutput& output = outputs[taken[i]->output];
        if (results[i].error) {
            session.discard_step();
            output = SequenceOutput{.logits = {}, .hidden = {}, .error = results[i].error};
            taken[i]->done = static_cast<int64_t>(taken[i]->input->tokens.size());
            continue;
        }
        session.tokens.insert(session.tokens.end(), inputs[i].ids.begin(), inputs[i].ids.end());
        taken[i]->done += static_cast<int64_t>(inputs[i].ids.size());
        tokens_evaluated += inputs[i].ids.size();
        if (output.logits.empty()) {
            output.logits = std::move(results[i].logits);
        } else {
            output.logits.insert(output.logits.end(), results[i].logits.begin(), results[i].logits.end());
        }
        if (!results[i].hidden.empty()) append_hidden(output.hidden, std::move(results[i].hidden));
    }
}

void Engine::Impl::catch_up(Session::Impl& session, const ProgressCallback& progress) {
    const auto behind = static_cast<size_t>(session.state->position());
    if (behind == session.tokens.size()) return;
    const std::vector<TokenId> tokens = session.tokens;
    const auto total = static_cast<int64_t>(tokens.size());
    for (size_t begin = behind; begin < tokens.size(); begin += static_cast<size_t>(info.chunk)) {
        const size_t count = std::min(tokens.size() - begin, static_cast<size_t>(info.chunk));
        const ForwardInput input{
            .state = session.state.get(), .ids = std::span(tokens).subspan(begin, count), .logit_rows = {}};
        try {
            const std::vector<ForwardOutput> results = model->forward(std::span(&input, 1));
            if (results[0].error) std::rethrow_exception(results[0].error);
        } catch (...) {
            session.discard_step();
            throw;
        }
        tokens_evaluated += count;
        if (progress && !progress(session.state->position(), total)) {
            fail(ErrorCode::kCancelled, "stopped by the caller");
        }
    }
}

std::vector<SequenceOutput> Engine::Impl::evaluate(std::span<const SequenceInput> batch,
                                                   const ProgressCallback& progress) {
    std::vector<SequenceOutput> outputs(batch.size());
    std::vector<Pending> pending;
    std::unordered_set<const Session*> seen;
    int64_t total = 0;
    for (const SequenceInput& input : batch) {
        check(input);
        if (!seen.insert(input.session).second) fail(ErrorCode::kUsage, "a batch names the same session twice");
    }
    for (size_t i = 0; i < batch.size(); ++i) {
        Session::Impl& session = *batch[i].session->impl_;
        try {
            const size_t needed = session.tokens.size() + batch[i].tokens.size();
            if (needed > static_cast<size_t>(info.context)) {
                fail(ErrorCode::kContextFull,
                     "{} tokens after the {} already there do not fit the context of {}; give a larger "
                     "--context",
                     batch[i].tokens.size(), session.tokens.size(), info.context);
            }
            catch_up(session, progress);
            pending.push_back({.input = &batch[i], .output = i});
            total += static_cast<int64_t>(batch[i].tokens.size());
        } catch (const Error&) {
            outputs[i].error = std::current_exception();
        }
    }
    const auto left = [&] {
        int64_t sum = 0;
        for (const Pending& p : pending) sum += p.remaining();
        return sum;
    };
    while (left() > 0) {
        step(pending, outputs);
        if (progress && !progress(total - left(), total)) fail(ErrorCode::kCancelled, "stopped by the caller");
    }
    return outputs;
}

std::vector<SequenceOutput> Engine::evaluate(std::span<const SequenceInput> batch, const ProgressCallback& progress) {
    const std::lock_guard lock(impl_->mutex);
    return impl_->evaluate(batch, progress);
}

SequenceOutput Engine::evaluate(Session& session, std::span<const TokenId> tokens, LogitsWanted logits,
                                const ProgressCallback& progress) {
    const SequenceInput input{.session = &session, .tokens = tokens, .logits = logits};
    std::vector<SequenceOutput> outputs = evaluate(std::span(&input, 1), progress);
    if (outputs[0].error) std::rethrow_exception(outputs[0].error);
    return std::move(outputs[0]);
}

}  // namespace sluice
