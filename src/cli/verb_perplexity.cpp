#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/thread_pool.h"
#include "cli/interrupt.h"
#include "cli/logit_comparison.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/prompt_flags.h"
#include "cli/run_report.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

// Logits kept at once: a chunk of a large vocabulary is evaluated in pieces of at most this many bytes of logits.
constexpr size_t kLogitsBytes = size_t{256} << 20;

struct Flags {
    ModelFlags model;
    PromptFlags source;
    int64_t chunk = 512;
    std::string against;
    bool json = false;
};

// Evaluates chunks, each from an empty session, in pieces of so many tokens that their logits are few.
class ChunkReader {
  public:
    ChunkReader(Engine& engine, size_t step) : engine_(engine), step_(step) {}

    void begin(std::span<const TokenId> chunk) {
        session_ = engine_.new_session();
        chunk_ = chunk;
        done_ = 0;
    }
    bool more() const { return done_ < chunk_.size(); }
    // Logits of the next piece, and which of its tokens they are of; `advance` is called with the chunk's tokens done.
    std::vector<float> next(const std::function<void(size_t)>& advance) {
        const std::span<const TokenId> piece = chunk_.subspan(done_, std::min(step_, chunk_.size() - done_));
        const SequenceInput input{
            .session = session_.get(), .tokens = piece, .logits = LogitsWanted::kAll, .cancelled = &interrupt_flag()};
        std::vector<SequenceOutput> outputs = engine_.evaluate(std::span(&input, 1), [&](int64_t done, int64_t) {
            advance(done_ + static_cast<size_t>(done));
            return !interrupted();
        });
        if (outputs[0].error) std::rethrow_exception(outputs[0].error);
        done_ += piece.size();
        return std::move(outputs[0].logits);
    }

  private:
    Engine& engine_;
    size_t step_;
    std::unique_ptr<Session> session_;
    std::span<const TokenId> chunk_;
    size_t done_ = 0;
};

// What one model, or two of them, said of the tokens of a text.
struct Scores {
    std::vector<double> losses;   // -log of the probability of each token but the first of a chunk
    std::vector<double> against;  // of the other model
    std::vector<LogitDifference> differences;
};

class Scorer {
  public:
    Scorer(Engine& engine, Engine* against)
        : pool_(engine.info().threads),
          vocabulary_(static_cast<size_t>(engine.info().vocabulary)),
          reader_(engine, step()) {
        if (against != nullptr) against_ = std::make_unique<ChunkReader>(*against, step());
    }

    // Calls `advance` with the tokens of the chunk done.
    void score(std::span<const TokenId> chunk, const std::function<void(size_t)>& advance) {
        reader_.begin(chunk);
        if (against_) against_->begin(chunk);
        for (size_t begin = 0; reader_.more();) {
            const std::vector<float> logits = reader_.next(advance);
            const std::vector<float> other = against_ ? against_->next([](size_t) {}) : std::vector<float>();
            const size_t rows = logits.size() / vocabulary_;
            add(logits, other, chunk.subspan(begin + 1, std::min(rows, chunk.size() - begin - 1)));
            begin += rows;
        }
    }

    const Scores& scores() const { return scores_; }

  private:
    size_t step() const { return std::max<size_t>(1, kLogitsBytes / (vocabulary_ * sizeof(float))); }

    void add(const std::vector<float>& logits, const std::vector<float>& other, std::span<const TokenId> targets) {
        const size_t first = scores_.losses.size(), all = first + targets.size();
        scores_.losses.resize(all);
        if (against_) scores_.against.resize(all);
        if (against_) scores_.differences.resize(all);
        pool_.parallel_for(targets.size(), 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) {
                const auto target = static_cast<size_t>(targets[i]);
                const auto row = std::span(logits).subspan(i * vocabulary_, vocabulary_);
                scores_.losses[first + i] = negative_log_likelihood(row, target);
                if (!against_) continue;
                const auto reference = std::span(other).subspan(i * vocabulary_, vocabulary_);
                scores_.against[first + i] = negative_log_likelihood(reference, target);
                scores_.differences[first + i] = compare_logits(reference, row);
            }
        });
    }

    ThreadPool pool_;
    size_t vocabulary_;
    ChunkReader reader_;
    std::unique_ptr<ChunkReader> against_;  // null: nothing to compare with
    Scores scores_;
};

Scores score_all(Engine& engine, Engine* against, const std::vector<TokenId>& ids, size_t chunk, bool quiet) {
    Scorer scorer(engine, against);
    Progress progress("perplexity", ids.size(), !quiet);
    for (size_t begin = 0; begin < ids.size(); begin += chunk) {
        const std::span<const TokenId> piece = std::span(ids).subspan(begin, std::min(chunk, ids.size() - begin));
        if (piece.size() < 2) break;  // a last token alone predicts nothing
        scorer.score(piece, [&](size_t done) { progress.advance_to(begin + done); });
    }
    return scorer.scores();
}

double mean_of(const std::vector<double>& values, const Engine& engine) {
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    if (std::isfinite(mean)) return mean;
    fail(ErrorCode::kInvalidFile,
         "{}: the logits are not finite numbers, so there is no perplexity; the weights may be damaged",
         engine.info().model_name);
}

// Both models are open at once, each under half of the ceiling, or what it needs at least and the other the rest.
void share_memory(ModelFlags& first, ModelFlags& second) {
    const MemoryOutlook one = Engine::foresee_memory(model_folder(first.model), first.engine);
    const MemoryOutlook other = Engine::foresee_memory(model_folder(second.model), second.engine);
    if (one.least_bytes + other.least_bytes > one.ram_bytes) {
        fail(ErrorCode::kOutOfMemory, "both models need {} together, and there are {}; give a `ram_bytes` of so much",
             format_size(one.least_bytes + other.least_bytes), format_size(one.ram_bytes));
    }
    const uint64_t half = std::clamp(one.ram_bytes / 2, one.least_bytes, one.ram_bytes - other.least_bytes);
    first.engine.ram_bytes = half;
    second.engine.ram_bytes = one.ram_bytes - half;
}

std::unique_ptr<Engine> open_against(const ModelFlags& flags, const Engine& engine) {
    std::unique_ptr<Engine> against = open_engine(flags);
    if (against->info().vocabulary == engine.info().vocabulary) return against;
    fail(ErrorCode::kUsage, "{} has a vocabulary of {} and {} one of {}: they are not of one model",
         against->info().model_name, against->info().vocabulary, engine.info().model_name, engine.info().vocabulary);
}

nlohmann::ordered_json divergence_json(const Scores& scores, const Engine& against) {
    const DivergenceSummary summary = summarize(scores.differences);
    return {{"model", against.info().model_name},
            {"perplexity", std::exp(mean_of(scores.against, against))},
            {"kl_divergence", summary.mean},
            {"kl_divergence_median", summary.median},
            {"kl_divergence_99_percent", summary.percentile_99},
            {"kl_divergence_largest", summary.largest},
            {"same_most_likely", summary.same_first}};
}

void tell_divergence(Output& output, const Scores& scores, const Engine& against) {
    const DivergenceSummary summary = summarize(scores.differences);
    output.write(fmt::format(
        "against {}: perplexity {:.4f}; KL divergence {:.6f} (median {:.6f}, 99 % {:.6f}, largest {:.6f}); the same "
        "token first at {:.2f} %\n",
        against.info().model_name, std::exp(mean_of(scores.against, against)), summary.mean, summary.median,
        summary.percentile_99, summary.largest, 100 * summary.same_first));
}

void perplexity(Flags flags) {
    if (flags.source.text_file.empty() && flags.source.token_file.empty()) {
        throw UsageError("perplexity needs a text: give --file or --tokens");
    }
    const Prompt source = read_prompt(flags.source, std::nullopt);
    if (flags.model.engine.context == 0) {
        flags.model.engine.context = flags.chunk;
        flags.model.context_from = "--chunk";
    }
    ModelFlags other = flags.model;
    other.model.name = flags.against;
    other.alone = true;
    if (!flags.against.empty()) share_memory(flags.model, other);
    std::optional<InterruptHold> hold;  // outlives the engines, whose end may write a file
    const std::unique_ptr<Engine> engine = open_engine(flags.model);
    const std::unique_ptr<Engine> against = flags.against.empty() ? nullptr : open_against(other, *engine);
    hold.emplace();
    const std::vector<TokenId> ids = source.text ? tokenizer_of(*engine).encode(*source.text, true) : source.ids;
    if (ids.size() < 2) fail(ErrorCode::kUsage, "perplexity needs at least two tokens; there are {}", ids.size());

    const Stopwatch watch;
    const Scores scores = score_all(*engine, against.get(), ids, static_cast<size_t>(flags.chunk), flags.model.quiet);
    const double seconds = watch.seconds();
    const double mean = mean_of(scores.losses, *engine);
    const size_t chunks = (ids.size() + static_cast<size_t>(flags.chunk) - 1) / static_cast<size_t>(flags.chunk);
    Output output;
    if (flags.json) {
        nlohmann::ordered_json document = {{"perplexity", std::exp(mean)},
                                           {"mean_nll", mean},
                                           {"predicted_positions", scores.losses.size()},
                                           {"tokens", ids.size()},
                                           {"chunk", flags.chunk},
                                           {"chunks", chunks},
                                           {"seconds", seconds},
                                           {"tokens_per_s", per_second(static_cast<double>(ids.size()), seconds)}};
        if (against) document["against"] = divergence_json(scores, *against);
        add_expert_keys(document, engine->statistics());
        add_engine_keys(document, engine->info());
        write_json(output, document);
    } else {
        output.write(fmt::format("{:.4f}\n", std::exp(mean)));
        if (against) tell_divergence(output, scores, *against);
        if (!flags.model.quiet) {
            tell("perplexity over {} positions in {} chunks; {:.1f} s, {:.1f} tok/s\n{}\n", scores.losses.size(),
                 chunks, seconds, per_second(static_cast<double>(ids.size()), seconds),
                 describe_engine(engine->info()));
        }
    }
    engine->save_trace();
}

}  // namespace

Command declare_perplexity() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    list.push_back(text_flag("--file,-f", flags->source.text_file, "The text; - is standard input", "F"));
    list.push_back(
        text_flag("--tokens", flags->source.token_file, "A JSON array of ids, or an object with `ids`", "F.json"));
    list.back().excludes = "--file";
    list.push_back(count_flag("--chunk", flags->chunk,
                              "Tokens per chunk; chunks do not overlap and each starts fresh; default: 512", 2,
                              int64_t{1} << 30));
    list.push_back(text_flag("--against", flags->against,
                             "Another file of the same model, such as the one before quantization: also how far apart "
                             "the two are (Kullback-Leibler divergence from OTHER); both share the memory",
                             "OTHER"));
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the number"));
    add_engine_flags(command, flags->model, {"chunk"});
    command.run = [flags] { perplexity(*flags); };
    return command;
}

}  // namespace sluice::cli
