#include <algorithm>
#include <iterator>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "engine/generation_impl.h"

namespace sluice {

namespace {

using Live = std::vector<Generation::Impl*>;

// What it throws ends this generation alone.
template <typename Action>
void attempt(Generation::Impl& generation, const Action& action) {
    try {
        action(generation);
    } catch (...) {
        generation.fail_with(std::current_exception());
    }
}

void drop_finished(Live& live) {
    std::erase_if(live, [](const Generation::Impl* each) { return each->finished; });
}

void check_before(Generation::Impl& generation) {
    if (generation.work().is_cancelled()) return generation.finish(FinishReason::kCancelled);
    generation.check_session();
}

// Those that end before the pass leave `live`.
void run_pass(Engine::Impl& engine, Live& live, const StepLimits& limits) {
    const ModelLock lock(engine);
    for (Generation::Impl* each : live) {
        if (!each->started) attempt(*each, [](auto& generation) { generation.start(); });
    }
    drop_finished(live);
    std::vector<SequenceWork*> work;
    for (Generation::Impl* each : live) work.push_back(&each->work());
    const auto at_most = [](int64_t limit, int64_t most) { return limit > 0 ? std::min(limit, most) : most; };
    engine.run_pass(work, at_most(limits.rows, engine.info.pass_rows), at_most(limits.chunk, engine.info.chunk));
    for (Generation::Impl* each : live) each->note_pass();
    // One vocabulary takes a third of a millisecond, in which the other threads would wait.
    Live sampling;
    std::ranges::copy_if(live, std::back_inserter(sampling), &Generation::Impl::samples_alone);
    if (sampling.size() > 1) engine.backend->spread(sampling.size(), [&](size_t i) { sampling[i]->sample_ahead(); });
}

}  // namespace

std::unique_ptr<Generation> Engine::begin(Session& session, std::span<const TokenId> prompt,
                                          const GenerationOptions& options) {
    impl_->check_ids(prompt);
    impl_->check_room(options.whole_prompt ? 0 : session.tokens().size(), prompt.size());
    return impl_->begin(*session.impl_, {prompt.begin(), prompt.end()}, options.whole_prompt, options);
}

std::unique_ptr<Generation> Engine::begin(Session& session, std::string_view prompt, const GenerationOptions& options) {
    if (tokenizer() == nullptr) {
        fail(ErrorCode::kUsage, "{} has no tokenizer.json; give the prompt as token ids", impl_->info.model_name);
    }
    std::vector<TokenId> ids = tokenizer()->encode(prompt, options.add_special_tokens);
    impl_->check_ids(ids);
    impl_->check_room(0, ids.size());
    return impl_->begin(*session.impl_, std::move(ids), true, options);
}

std::unique_ptr<Generation> Engine::Impl::begin(Session::Impl& session, std::vector<TokenId> prompt, bool whole,
                                                const GenerationOptions& how) {
    if (session.generation != nullptr) fail(ErrorCode::kUsage, "the session has a generation that is not finished");
    if (!how.stop.empty() && !tokenizer) {
        fail(ErrorCode::kUsage, "stop strings need a tokenizer, and {} has none", info.model_name);
    }
    auto generation = std::make_unique<Generation::Impl>(*this, session, std::move(prompt), how);
    generation->whole = whole;
    return std::unique_ptr<Generation>(new Generation(std::move(generation)));
}

void Engine::step(std::span<Generation* const> generations, const StepLimits& limits) {
    std::unordered_set<const Generation*> seen;
    Live all;
    for (const Generation* each : generations) {
        if (each == nullptr) fail(ErrorCode::kUsage, "a step names no generation");
        if (!seen.insert(each).second) fail(ErrorCode::kUsage, "a step names the same generation twice");
        if (!each->impl_->finished) all.push_back(each->impl_.get());
    }
    if (all.empty()) return;
    std::vector<SessionUse> uses;
    for (const Generation::Impl* each : all) {
        if (each->session != nullptr) uses.emplace_back(*each->session);
    }

    Live live = all;
    for (Generation::Impl* each : live) attempt(*each, check_before);
    drop_finished(live);
    if (!live.empty()) run_pass(*impl_, live, limits);
    for (Generation::Impl* each : live) attempt(*each, [](auto& generation) { generation.go_on(); });

    const auto ended = [](const Generation::Impl* each) { return each->finished; };
    if (std::ranges::any_of(all, ended)) {
        const ModelLock lock(*impl_);
        for (Generation::Impl* each : all) {
            if (each->finished) each->remember_end();
        }
    }
    if (std::ranges::all_of(all, ended)) impl_->store->go_on_warming();
}

}  // namespace sluice
