#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "cli/interrupt.h"
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
    bool json = false;
};

// -log softmax(row)[target], in double.
double negative_log_likelihood(std::span<const float> row, TokenId target) {
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float value : row) sum += std::exp(static_cast<double>(value) - largest);
    return std::log(sum) + largest - static_cast<double>(row[static_cast<size_t>(target)]);
}

// What the model said of the tokens of one chunk; every chunk starts from an empty session.
class ChunkScorer {
  public:
    explicit ChunkScorer(Engine& engine)
        : engine_(engine), pool_(engine.info().threads), vocabulary_(static_cast<size_t>(engine.info().vocabulary)) {}

    // Appends one value for each position but the first; calls `advance` with the tokens done.
    template <typename Advance>
    void score(std::span<const TokenId> chunk, std::vector<double>& values, Advance advance) {
        const std::unique_ptr<Session> session = engine_.new_session();
        const size_t step = std::max<size_t>(1, kLogitsBytes / (vocabulary_ * sizeof(float)));
        for (size_t begin = 0; begin < chunk.size(); begin += step) {
            const std::span<const TokenId> piece = chunk.subspan(begin, std::min(step, chunk.size() - begin));
            const SequenceInput input{.session = session.get(),
                                      .tokens = piece,
                                      .logits = LogitsWanted::kAll,
                                      .cancelled = &interrupt_flag()};
            const std::vector<SequenceOutput> outputs =
                engine_.evaluate(std::span(&input, 1), [&](int64_t done, int64_t) {
                    advance(begin + static_cast<size_t>(done));
                    return !interrupted();
                });
            if (outputs[0].error) std::rethrow_exception(outputs[0].error);
            const SequenceOutput& output = outputs[0];
            const size_t predicted = std::min(piece.size(), chunk.size() - begin - 1);
            score_rows(output.logits, chunk.subspan(begin + 1, predicted), values);
        }
    }

  private:
    void score_rows(const std::vector<float>& logits, std::span<const TokenId> targets, std::vector<double>& values) {
        const size_t first = values.size();
        values.resize(first + targets.size());
        pool_.parallel_for(targets.size(), 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) {
                values[first + i] =
                    negative_log_likelihood(std::span(logits).subspan(i * vocabulary_, vocabulary_), targets[i]);
            }
        });
    }

    Engine& engine_;
    ThreadPool pool_;
    size_t vocabulary_;
};

std::vector<double> score_all(Engine& engine, const std::vector<TokenId>& ids, size_t chunk, bool quiet) {
    std::vector<double> values;
    values.reserve(ids.size());
    ChunkScorer scorer(engine);
    Progress progress("perplexity", ids.size(), !quiet);
    for (size_t begin = 0; begin < ids.size(); begin += chunk) {
        const std::span<const TokenId> piece = std::span(ids).subspan(begin, std::min(chunk, ids.size() - begin));
        if (piece.size() < 2) break;  // a last token alone predicts nothing
        scorer.score(piece, values, [&](size_t done) { progress.advance_to(begin + done); });
    }
    return values;
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
    std::optional<InterruptHold> hold;  // outlives the engine, whose end may write a file
    const std::unique_ptr<Engine> engine = open_engine(flags.model);
    hold.emplace();
    const std::vector<TokenId> ids = source.text ? tokenizer_of(*engine).encode(*source.text, true) : source.ids;
    if (ids.size() < 2) fail(ErrorCode::kUsage, "perplexity needs at least two tokens; there are {}", ids.size());

    const Stopwatch watch;
    const std::vector<double> values = score_all(*engine, ids, static_cast<size_t>(flags.chunk), flags.model.quiet);
    const double seconds = watch.seconds();
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    if (!std::isfinite(mean)) {
        fail(ErrorCode::kInvalidFile,
             "{}: the logits are not finite numbers, so there is no perplexity; the weights may "
             "be damaged",
             engine->info().model_name);
    }
    const size_t chunks = (ids.size() + static_cast<size_t>(flags.chunk) - 1) / static_cast<size_t>(flags.chunk);
    Output output;
    if (flags.json) {
        nlohmann::ordered_json document = {{"perplexity", std::exp(mean)},
                                           {"mean_nll", mean},
                                           {"predicted_positions", values.size()},
                                           {"tokens", ids.size()},
                                           {"chunk", flags.chunk},
                                           {"chunks", chunks},
                                           {"seconds", seconds},
                                           {"tokens_per_s", per_second(static_cast<double>(ids.size()), seconds)}};
        add_expert_keys(document, engine->statistics());
        add_engine_keys(document, engine->info());
        write_json(output, document);
    } else {
        output.write(fmt::format("{:.4f}\n", std::exp(mean)));
        if (!flags.model.quiet) {
            tell("perplexity over {} positions in {} chunks; {:.1f} s, {:.1f} tok/s\n{}\n", values.size(), chunks,
                 seconds, per_second(static_cast<double>(ids.size()), seconds), describe_engine(engine->info()));
        }
    }
    engine->save_trace();
}

}  // namespace

Command declare_perplexity() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(model_argument(flags->model.model));
    list.push_back(text_flag("--file,-f", flags->source.text_file, "The text; - is standard input", "F"));
    list.push_back(
        text_flag("--tokens", flags->source.token_file, "A JSON array of ids, or an object with `ids`", "F.json"));
    list.back().excludes = "--file";
    list.push_back(count_flag("--chunk", flags->chunk,
                              "Tokens per chunk; chunks do not overlap and each starts fresh; default: 512", 2,
                              int64_t{1} << 30));
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the number"));
    add_engine_flags(list, flags->model, {"chunk"});
    command.run = [flags] { perplexity(*flags); };
    return command;
}

}  // namespace sluice::cli
