#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine_impl.h"
#include "engine/text_stream.h"

namespace sluice {

// Changed by Engine::step alone, but for `cancelled`. With no lock where nothing is said.
struct Generation::Impl {
    Engine::Impl& engine;
    Session::Impl* session;  // null once it is destroyed
    GenerationOptions options;
    bool whole = false;  // the prompt is the whole of its session
    Sampler sampler;
    TextStream stream;
    GenerationResult result;
    std::string untaken;
    std::exception_ptr error;
    std::atomic<bool> cancelled = false;
    std::atomic<size_t> prompt_done = 0;  // tokens of the prompt that the session has seen
    bool started = false, drawing = false, finished = false;

    Impl(Engine::Impl& of, Session::Impl& on, std::vector<TokenId> prompt, const GenerationOptions& how);
    ~Impl();

    // Throws kUsage if the session is not as the last step left it.
    void check_session() const;
    // Before the first pass: finds what of the prompt is known. With the model's lock.
    void start();
    SequenceWork& work() { return work_; }
    // After a pass that it may have taken part in: notes how far it is, and remembers a state worth it. With the
    // model's lock.
    void note_pass();
    // Whether go_on() will take a token that nobody but this generation has a say in.
    bool samples_alone() const;
    // Finds that token ahead of go_on(), on any thread. Throws nothing.
    void sample_ahead();
    // Then draws the next token, or goes on to the next piece of the prompt.
    void go_on();
    void finish(FinishReason reason);
    void fail_with(std::exception_ptr reason);
    // Once finished, what of the session is worth keeping for later prompts. With the model's lock.
    void remember_end();
    size_t cached_tokens() const { return cached_; }

  private:
    void take_piece(size_t begin);
    void draw();
    size_t drawable_tokens() const;
    // Of the next token, or of one that comes so many later.
    DrawSettings draw_settings(size_t later);
    TokenId next_token();
    TokenId sample();

    SequenceWork work_;
    size_t piece_begin_ = 0, piece_end_ = 0;  // of the prompt: what `work_` is to evaluate
    std::vector<int64_t> points_;             // of the prompt, ascending, where its state is worth remembering
    size_t cached_ = 0;                       // tokens of the prompt that nobody had to evaluate
    size_t session_tokens_ = 0;               // as the last step left it
    TokenId last_ = 0;                        // drawn, to be evaluated next
    std::optional<TokenId> sampled_;          // ahead, or why not
    std::exception_ptr sampling_error_;
    EngineStatistics before_;
    Stopwatch watch_;
};

}  // namespace sluice
