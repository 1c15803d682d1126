#include <cstring>

#include "engine/c_api_impl.h"

struct sluice_generation {
    std::unique_ptr<sluice::Generation> generation;
    std::string untaken;  // text that did not fit the caller's array yet
};

namespace {

using namespace sluice::c_api;
using sluice::ErrorCode;
using sluice::fail;

sluice::GenerationOptions to_generation_options(const sluice::Engine& engine, const sluice_generation_options* given) {
    sluice::GenerationOptions options;
    options.sampling = engine.defaults().sampling;
    if (given == nullptr) return options;
    sluice::SamplingOptions& sampling = options.sampling;
    sampling.temperature = given->temperature;
    sampling.top_k = given->top_k;
    sampling.top_p = given->top_p;
    sampling.min_p = given->min_p;
    sampling.repetition_penalty = given->repetition_penalty;
    sampling.presence_penalty = given->presence_penalty;
    sampling.frequency_penalty = given->frequency_penalty;
    sampling.seed = given->seed;
    if (given->bias_count > 0) {
        require(given->bias_ids, "bias_ids");
        require(given->bias_values, "bias_values");
    }
    for (size_t i = 0; i < given->bias_count; ++i) sampling.logit_bias[given->bias_ids[i]] = given->bias_values[i];
    options.max_tokens = given->max_tokens;
    options.ignore_eos = given->ignore_eos != 0;
    if (given->stop_count > 0) require(given->stop, "stop");
    for (size_t i = 0; i < given->stop_count; ++i) {
        require(given->stop[i], "stop");
        options.stop.emplace_back(given->stop[i]);
    }
    if (given->log_probabilities >= 0) options.log_probabilities = static_cast<size_t>(given->log_probabilities);
    if (given->mask != nullptr) {
        options.mask = [call = given->mask, user = given->mask_user](std::span<const sluice::TokenId> ids,
                                                                     sluice::TokenMask& mask) {
            call(ids.data(), ids.size(), mask.words().data(), mask.tokens(), user);
        };
    }
    return options;
}

template <typename Prompt>
sluice_status begin(sluice_session* session, const Prompt& prompt, const sluice_generation_options* options,
                    sluice_generation** generation) {
    return guarded([&] {
        require(generation, "generation");
        *generation = nullptr;
        require(session, "session");
        require(prompt.data(), "prompt");
        auto begun = std::make_unique<sluice_generation>();
        begun->generation =
            session->engine->begin(*session->session, prompt, to_generation_options(*session->engine, options));
        session->logits.clear();
        *generation = begun.release();
    });
}

}  // namespace

void sluice_generation_defaults(const sluice_model* model, sluice_generation_options* options) {
    if (options == nullptr) return;
    const sluice::GenerationOptions general;
    const sluice::SamplingOptions sampling = model == nullptr ? general.sampling : model->engine->defaults().sampling;
    *options = {};
    options->temperature = sampling.temperature;
    options->top_k = sampling.top_k;
    options->top_p = sampling.top_p;
    options->min_p = sampling.min_p;
    options->repetition_penalty = sampling.repetition_penalty;
    options->max_tokens = general.max_tokens;
    options->log_probabilities = -1;
}

sluice_status sluice_generation_begin(sluice_session* session, const int32_t* ids, size_t count,
                                      const sluice_generation_options* options, sluice_generation** generation) {
    return begin(session, std::span<const sluice::TokenId>(ids, count), options, generation);
}

sluice_status sluice_generation_begin_text(sluice_session* session, const char* prompt,
                                           const sluice_generation_options* options, sluice_generation** generation) {
    return begin(session, prompt == nullptr ? std::string_view() : std::string_view(prompt), options, generation);
}

sluice_status sluice_step(sluice_model* model, sluice_generation* const* generations, size_t count,
                          int64_t token_budget) {
    return guarded([&] {
        require(model, "model");
        if (count > 0) require(generations, "generations");
        std::vector<sluice::Generation*> stepped;
        for (size_t i = 0; i < count; ++i) {
            require(generations[i], "generation");
            stepped.push_back(generations[i]->generation.get());
        }
        model->engine->step(stepped, {.rows = token_budget});
    });
}

int sluice_generation_finished(const sluice_generation* generation) {
    return generation == nullptr || generation->generation->finished();
}

sluice_finish_reason sluice_generation_finish_reason(const sluice_generation* generation) {
    if (generation == nullptr) return SLUICE_FINISH_ERROR;
    if (!generation->generation->finished()) return SLUICE_FINISH_NOT_YET;
    switch (generation->generation->result().finish) {
        case sluice::FinishReason::kStop:
            return SLUICE_FINISH_STOP;
        case sluice::FinishReason::kLength:
            return SLUICE_FINISH_LENGTH;
        case sluice::FinishReason::kContext:
            return SLUICE_FINISH_CONTEXT;
        case sluice::FinishReason::kCancelled:
            return SLUICE_FINISH_CANCELLED;
        case sluice::FinishReason::kError:
            return SLUICE_FINISH_ERROR;
    }
    return SLUICE_FINISH_ERROR;
}

sluice_status sluice_generation_error(const sluice_generation* generation) {
    return guarded([&] {
        require(generation, "generation");
        if (const std::exception_ptr error = generation->generation->error()) std::rethrow_exception(error);
    });
}

sluice_status sluice_generation_take_text(sluice_generation* generation, char* text, size_t* count) {
    return guarded([&] {
        require(generation, "generation");
        require(count, "count");
        generation->untaken += generation->generation->take_text();
        give(generation->untaken, text, count);
        generation->untaken.clear();
    });
}

sluice_status sluice_generation_tokens(const sluice_generation* generation, int32_t* ids, size_t* count) {
    return guarded([&] {
        require(generation, "generation");
        require(count, "count");
        give(generation->generation->result().token_ids, ids, count);
    });
}

sluice_status sluice_generation_log_probability(const sluice_generation* generation, size_t token, float* value,
                                                int32_t* top_ids, float* top_values, size_t* top_count) {
    return guarded([&] {
        require(generation, "generation");
        require(value, "value");
        const std::vector<sluice::TokenChoice>& choices = generation->generation->result().choices;
        if (token >= choices.size()) {
            fail(ErrorCode::kUsage, "token {} has no log-probability: there are {}", token, choices.size());
        }
        *value = choices[token].log_probability;
        if (top_count == nullptr) return;
        std::vector<int32_t> ids;
        std::vector<float> values;
        for (const sluice::TokenLogProbability& each : choices[token].top) {
            ids.push_back(each.id);
            values.push_back(each.log_probability);
        }
        size_t count = *top_count;
        give(ids, top_ids, top_count);
        give(values, top_values, &count);
    });
}

void sluice_generation_progress(const sluice_generation* generation, int64_t* done, int64_t* total) {
    const sluice::PromptProgress progress =
        generation == nullptr ? sluice::PromptProgress{} : generation->generation->progress();
    if (done != nullptr) *done = progress.done;
    if (total != nullptr) *total = progress.total;
}

void sluice_generation_cancel(sluice_generation* generation) {
    if (generation != nullptr) generation->generation->cancel();
}

void sluice_generation_free(sluice_generation* generation) {
    delete generation;
}
