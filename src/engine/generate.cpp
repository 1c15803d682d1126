#include "base/error.h"
#include "engine/generation_impl.h"

namespace sluice {

namespace {

// The tokens and the text of a generation, as they come, for its callback.
class Teller {
  public:
    Teller(Generation& generation, const TokenCallback& on_token) : generation_(generation), on_token_(on_token) {}

    // Whether it is to go on.
    bool tell() {
        const std::vector<TokenId>& ids = generation_.result().token_ids;
        const std::string text = generation_.take_text();
        const bool drawn = ids.size() > told_;
        told_ = ids.size();
        if (!on_token_ || ids.empty() || (!drawn && text.empty())) return true;
        return on_token_(ids.back(), text);
    }

  private:
    Generation& generation_;
    const TokenCallback& on_token_;
    size_t told_ = 0;
};

}  // namespace

GenerationResult Engine::run_to_end(Generation& generation, const TokenCallback& on_token,
                                    const ProgressCallback& progress) {
    Generation* const one[] = {&generation};
    Teller teller(generation, on_token);
    int64_t told = -1;
    while (!generation.finished()) {
        step(one);
        const auto [done, total] = generation.progress();
        const auto cached = static_cast<int64_t>(generation.impl_->cached_tokens());
        if (progress && !generation.error() && std::exchange(told, done) != done &&
            !progress(done - cached, total - cached)) {
            generation.cancel();
            step(one);
            fail(ErrorCode::kCancelled, "stopped by the caller");
        }
        if (!teller.tell()) generation.cancel();
    }
    if (generation.error()) std::rethrow_exception(generation.error());
    return generation.result();
}

GenerationResult Engine::generate(Session& session, std::span<const TokenId> prompt, const GenerationOptions& options,
                                  const TokenCallback& on_token, const ProgressCallback& progress) {
    return run_to_end(*begin(session, prompt, options), on_token, progress);
}

GenerationResult Engine::generate_text(Session& session, const std::string& prompt, const GenerationOptions& options,
                                       const TokenCallback& on_token, const ProgressCallback& progress) {
    return run_to_end(*begin(session, prompt, options), on_token, progress);
}

}  // namespace sluice
