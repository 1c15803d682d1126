#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/pass_plan.h"
#include "engine/softmax_weights.h"

namespace sluice {

namespace {

std::vector<int32_t> rows_with_logits(LogitsWanted wanted, size_t count, bool last_part) {
    std::vector<int32_t> rows;
    if (wanted == LogitsWanted::kAll) {
        for (size_t r = 0; r < count; ++r) rows.push_back(static_cast<int32_t>(r));
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

int64_t remaining(std::span<const SequenceWork> work) {
    int64_t sum = 0;
    for (const SequenceWork& each : work) sum += each.remaining();
    return sum;
}

}  // namespace

int64_t SequenceWork::behind() const {
    const int64_t seen = session->state == nullptr ? 0 : session->state->position();
    return static_cast<int64_t>(session->tokens.size()) - seen;
}

int64_t SequenceWork::remaining() const {
    return output.error ? 0 : behind() + static_cast<int64_t>(tokens.size() - done);
}

std::span<const TokenId> SequenceWork::next_piece(int64_t chunk) const {
    if (output.error) return {};
    const auto missed = static_cast<size_t>(behind());
    const std::span<const TokenId> rest = missed > 0 ? std::span(session->tokens).last(missed) : tokens.subspan(done);
    return rest.first(std::min(rest.size(), static_cast<size_t>(chunk)));
}

void Engine::Impl::check_ids(std::span<const TokenId> tokens) const {
    if (tokens.empty()) fail(ErrorCode::kUsage, "no tokens to evaluate: the prompt is empty");
    for (const TokenId id : tokens) {
        if (id < 0 || id >= info.vocabulary) {
            fail(ErrorCode::kUsage, "token id {} is outside the model's vocabulary of {}", id, info.vocabulary);
        }
    }
}

void Engine::Impl::check_room(size_t there, size_t more) const {
    if (there + more <= static_cast<size_t>(info.context)) return;
    fail(ErrorCode::kContextFull,
         "{} tokens after the {} already there do not fit the context of {}; give a larger `context`", more, there,
         info.context);
}

// What concerns all sequences is the error of each.
std::vector<ForwardOutput> Engine::Impl::forward(std::span<const ForwardInput> inputs, const PassHook& hook) {
    std::vector<ForwardOutput> results(inputs.size());
    std::exception_ptr not_finite;  // found once: it takes a look at every weight
    try {
        results = model->forward(inputs, hook);
        for (ForwardOutput& result : results) {
            if (all_finite(result.logits) && result.likeliest.value_or(0) >= 0) continue;
            if (!not_finite) {
                const std::optional<std::string> culprit = checkpoint->find_non_finite();
                not_finite = std::make_exception_ptr(
                    Error(ErrorCode::kInvalidFile,
                          fmt::format("the logits are not finite: {}",
                                      culprit ? *culprit
                                              : "every weight is finite, so an activation overflowed; try `exact`")));
            }
            result.error = not_finite;
        }
    } catch (...) {
        for (ForwardOutput& result : results) result = {.logits = {}, .hidden = {}, .error = std::current_exception()};
    }
    return results;
}

void Engine::Impl::finish_piece(const Piece& piece, ForwardOutput&& result) {
    SequenceWork& work = *piece.work;
    if (result.error) {
        work.session->discard_pass();
        work.output = SequenceOutput{.logits = {}, .hidden = {}, .error = result.error};
        return;
    }
    work.evaluated += piece.tokens.size();
    tokens_evaluated += piece.tokens.size();
    if (piece.known) return;
    work.done += piece.tokens.size();
    work.session->tokens.insert(work.session->tokens.end(), piece.tokens.begin(), piece.tokens.end());
    work.likeliest = result.likeliest;
    SequenceOutput& output = work.output;
    if (output.logits.empty()) {
        output.logits = std::move(result.logits);
    } else {
        output.logits.insert(output.logits.end(), result.logits.begin(), result.logits.end());
    }
    if (!result.hidden.empty()) append_hidden(output.hidden, std::move(result.hidden));
}

void Engine::Impl::run_pass(std::span<SequenceWork* const> work, int64_t room, int64_t chunk) {
    // A sequence is cut where it would be cut alone, so that company changes no bit; what does not fit waits.
    for (SequenceWork* each : work) {
        if (each->is_cancelled() && !each->output.error)
            each->output.error = std::make_exception_ptr(Error(ErrorCode::kCancelled, "stopped by the caller"));
    }
    std::vector<PassCandidate> candidates;
    for (const SequenceWork* each : work) {
        candidates.push_back(
            {.rows = static_cast<int64_t>(each->next_piece(chunk).size()), .last_pass = each->last_pass});
    }
    const std::vector<size_t> taken = choose_for_pass(candidates, room);
    if (taken.empty()) return;
    ++passes;
    std::vector<Piece> pieces;
    std::vector<ForwardInput> inputs;
    for (const size_t i : taken) {
        SequenceWork& each = *work[i];
        each.last_pass = passes;
        const Piece& piece = pieces.emplace_back(&each, each.next_piece(chunk), each.behind() > 0);
        ForwardInput& input = inputs.emplace_back();
        input.state = &each.session->made_state();
        input.ids = piece.tokens;
        if (piece.known) continue;
        const size_t count = piece.tokens.size();
        input.logit_rows = rows_with_logits(each.logits, count, each.done + count == each.tokens.size());
        input.hidden = each.hidden;
        input.likeliest_of = each.likeliest_of;
        input.draw = each.draw;
        input.goes_on = each.goes_on && work.size() == 1;  // a step ahead is for nothing where others join
        input.next_draw = each.next_draw;
    }
    // A pass goes on while anyone wants it.
    std::vector<ForwardOutput> results = forward(inputs, [&pieces](int64_t, int64_t) {
        return !std::ranges::all_of(pieces, [](const Piece& piece) { return piece.work->is_cancelled(); });
    });
    for (size_t i = 0; i < pieces.size(); ++i) finish_piece(pieces[i], std::move(results[i]));
}

void Engine::Impl::catch_up(Session::Impl& session) {
    SequenceWork work;
    work.session = &session;
    SequenceWork* const one[] = {&work};
    while (work.remaining() > 0) {
        const ModelLock lock(*this);
        run_pass(one, info.pass_rows, info.chunk);
    }
    if (work.output.error) std::rethrow_exception(work.output.error);
}

std::vector<SequenceOutput> Engine::Impl::evaluate(std::span<const SequenceInput> batch,
                                                   const ProgressCallback& progress) {
    std::unordered_set<const Session*> seen;
    for (const SequenceInput& input : batch) {
        if (input.session == nullptr) fail(ErrorCode::kUsage, "a batch names no session");
        check_ids(input.tokens);
        if (!seen.insert(input.session).second) fail(ErrorCode::kUsage, "a batch names the same session twice");
        const int64_t position = input.position.value_or(0);
        if (position < 0 || position > input.session->position()) {
            fail(ErrorCode::kUsage, "cannot go back to position {}: the session is at {}", position,
                 input.session->position());
        }
    }
    std::vector<SessionUse> uses;
    for (const SequenceInput& input : batch) uses.emplace_back(*input.session->impl_);
    std::vector<SequenceWork> work(batch.size());
    std::vector<SequenceWork*> pointers;
    {
        const ModelLock lock(*this);
        for (size_t i = 0; i < batch.size(); ++i) {
            const SequenceInput& input = batch[i];
            Session::Impl& session = *input.session->impl_;
            work[i].session = &session;
            pointers.push_back(&work[i]);
            try {
                const auto there = static_cast<size_t>(input.position.value_or(input.session->position()));
                check_room(there, input.tokens.size());
                session.truncate(static_cast<int64_t>(there));
                work[i].tokens = input.tokens;
                work[i].logits = input.logits;
                work[i].hidden = input.hidden;
                work[i].cancelled_by_caller = input.cancelled;
            } catch (const Error&) {
                work[i].output.error = std::current_exception();
            }
        }
    }
    const int64_t total = remaining(work);
    while (remaining(work) > 0) {
        {
            const ModelLock lock(*this);
            run_pass(pointers, info.pass_rows, info.chunk);
        }
        if (progress && !progress(total - remaining(work), total)) fail(ErrorCode::kCancelled, "stopped by the caller");
    }
    std::vector<SequenceOutput> outputs;
    for (SequenceWork& each : work) outputs.push_back(std::move(each.output));
    return outputs;
}

std::vector<SequenceOutput> Engine::evaluate(std::span<const SequenceInput> batch, const ProgressCallback& progress) {
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
