#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/progress.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/prompt_flags.h"
#include "cli/run_report.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

struct Flags {
    ModelFlags model;
    SamplingFlags sampling;
    PromptFlags prompt;
    bool json = false;
};

nlohmann::ordered_json result_json(const Engine& engine, const GenerationResult& result,
                                   const GenerationOptions& options) {
    const RunFigures figures = figures_of(result);
    nlohmann::ordered_json document;
    document["text"] = nullptr;
    if (engine.tokenizer() != nullptr) document["text"] = result.text;
    document["token_ids"] = result.token_ids;
    document["finish_reason"] = finish_name(result.finish);
    document["prompt_tokens"] = result.prompt_ids.size();
    document["prefilled_tokens"] = result.prefilled_tokens;
    document["cached_tokens"] = result.prompt_ids.size() - result.prefilled_tokens;
    document["generated_tokens"] = result.token_ids.size();
    document["ttft_s"] = result.time_to_first_token_s;
    document["prefill_s"] = result.prefill_s;
    document["decode_s"] = result.decode_s;
    document["prefill_tokens_per_s"] = figures.prefill_tokens_per_s;
    document["decode_tokens_per_s"] = figures.decode_tokens_per_s;
    add_expert_keys(document, result.spent);
    add_engine_keys(document, engine.info());
    document["temperature"] = options.sampling.temperature;
    document["seed"] = options.sampling.seed;
    return document;
}

// Writes pieces as they come: text, or ids where the model has no tokenizer.
class Stream {
  public:
    Stream(Output& output, bool silent, bool ids) : output_(output), silent_(silent), ids_(ids) {}

    bool push(TokenId id, const std::string& text) {
        if (silent_) return true;
        if (!ids_) return write(text);
        return write(wrote_ ? fmt::format(" {}", id) : std::to_string(id));
    }
    void close() {
        if (wrote_ && last_ != '\n') output_.write("\n");
    }

  private:
    bool write(const std::string& piece) {
        if (piece.empty()) return true;
        wrote_ = true;
        last_ = piece.back();
        return output_.write(piece);
    }

    Output& output_;
    bool silent_, ids_;
    bool wrote_ = false;
    char last_ = '\n';
};

// Of the prompt and the answer, before the prompt is tokenized: a normalizer makes 33 bytes of a ligature of 3, and a
// byte is a token at worst. 0 where that is no less than a context that is common anyway.
int64_t most_tokens(const Prompt& prompt, int64_t max_tokens) {
    constexpr int64_t kTokensOfByte = 12, kSpecialTokens = 64, kEnough = 8192;
    const auto size = static_cast<int64_t>(prompt.text ? prompt.text->size() : prompt.ids.size());
    const int64_t of_prompt = prompt.text ? size * kTokensOfByte + kSpecialTokens : size;
    const int64_t all = of_prompt + std::clamp<int64_t>(max_tokens, 1, kEnough);
    return all < kEnough ? all : 0;
}

void generate(Flags& flags) {
    const bool bundled = flags.model.model.name.empty();
    const Prompt prompt =
        read_prompt(flags.prompt, bundled ? std::optional<std::string>("Once upon a time") : std::nullopt);
    flags.model.engine.session_tokens = most_tokens(prompt, flags.sampling.generation.max_tokens);
    std::optional<InterruptHold> hold;  // outlives the engine, whose end may write a file
    const std::unique_ptr<Engine> engine = open_engine(flags.model);
    hold.emplace();
    const std::vector<TokenId> ids = prompt_ids(prompt, *engine);
    GenerationOptions options = generation_options(flags.sampling, engine->defaults().sampling);
    options.whole_prompt = prompt.text.has_value();  // only a text finds its beginning in a prefix cache

    Output output;
    Stream stream(output, flags.json, engine->tokenizer() == nullptr);
    const std::unique_ptr<Session> session = engine->new_session();
    auto progress = std::make_unique<Progress>("reading the prompt", ids.size(), !flags.model.quiet);
    const auto on_token = [&](TokenId id, const std::string& text) {
        progress.reset();  // the bar must be gone before text appears on the same terminal
        return stream.push(id, text) && !interrupted();
    };
    const auto on_progress = [&](int64_t done, int64_t) {
        if (progress) progress->advance_to(static_cast<uint64_t>(done));
        return !interrupted();
    };
    const GenerationResult result = engine->generate(*session, ids, options, on_token, on_progress);
    progress.reset();
    stream.close();
    if (flags.json) write_json(output, result_json(*engine, result, options));
    if (!flags.model.quiet && !flags.json) {
        tell("\n{}", footer(engine->info(), result, options.sampling));
    }
    engine->save_trace();
}

}  // namespace

Command declare_generate() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    add_prompt_flags(list, flags->prompt);
    add_sampling_flags(list, flags->sampling, 256);
    list.push_back(switch_flag("--json", flags->json,
                               "One JSON object with the text, the ids and all figures instead of the stream"));
    add_engine_flags(command, flags->model);
    command.run = [flags] { generate(*flags); };
    return command;
}

}  // namespace sluice::cli
