#include "server/generator.h"

#include <utility>
#include <vector>

namespace sluice::server {

namespace {

class EngineContinuation final : public Continuation {
  public:
    EngineContinuation(std::unique_ptr<Session> session, std::unique_ptr<Generation> generation)
        : session_(std::move(session)), generation_(std::move(generation)) {}

    bool finished() const override { return generation_->finished(); }
    const GenerationResult& result() const override { return generation_->result(); }
    std::exception_ptr error() const override { return generation_->error(); }
    PromptProgress progress() const override { return generation_->progress(); }
    Generation& generation() { return *generation_; }

  private:
    std::unique_ptr<Session> session_;  // outlives the generation on it
    std::unique_ptr<Generation> generation_;
};

}  // namespace

std::unique_ptr<Continuation> EngineGenerator::begin(std::span<const TokenId> prompt,
                                                     const GenerationOptions& options) {
    std::unique_ptr<Session> session = engine_.new_session();
    std::unique_ptr<Generation> generation = engine_.begin(*session, prompt, options);
    return std::make_unique<EngineContinuation>(std::move(session), std::move(generation));
}

void EngineGenerator::step(std::span<Continuation* const> continuations, const StepLimits& limits) {
    std::vector<Generation*> generations;
    generations.reserve(continuations.size());
    for (Continuation* each : continuations) {
        generations.push_back(&static_cast<EngineContinuation*>(each)->generation());
    }
    engine_.step(generations, limits);
}

}  // namespace sluice::server
