#pragma once

#include <exception>
#include <memory>
#include <span>

#include "sluice/engine.h"

namespace sluice::server {

// A sequence that is being generated; see sluice::Generation.
class Continuation {
  public:
    virtual ~Continuation() = default;

    virtual bool finished() const = 0;
    virtual const GenerationResult& result() const = 0;
    virtual std::exception_ptr error() const = 0;
    virtual PromptProgress progress() const = 0;
};

// What the scheduler has its tokens from. One thread.
class Generator {
  public:
    virtual ~Generator() = default;

    // Evaluates nothing. Throws for what cannot be generated.
    virtual std::unique_ptr<Continuation> begin(std::span<const TokenId> prompt, const GenerationOptions& options) = 0;
    // Moves all of them on, which are this generator's own, by a chunk of a prompt or a token.
    virtual void step(std::span<Continuation* const> continuations, const StepLimits& limits) = 0;
};

// Each sequence has a session of the engine to itself.
class EngineGenerator final : public Generator {
  public:
    explicit EngineGenerator(Engine& engine) : engine_(engine) {}

    std::unique_ptr<Continuation> begin(std::span<const TokenId> prompt, const GenerationOptions& options) override;
    void step(std::span<Continuation* const> continuations, const StepLimits& limits) override;

  private:
    Engine& engine_;
};

}  // namespace sluice::server
