#include <algorithm>
#include <cstring>

#include "engine/c_api_impl.h"
#include "sluice/option_table.h"

namespace {

using namespace sluice::c_api;
using sluice::ErrorCode;
using sluice::fail;

struct LastError {
    sluice_status status = SLUICE_OK;
    std::string text;
};
thread_local LastError last_error;

sluice::EngineOptions to_engine_options(const sluice_options* options) {
    sluice::EngineOptions result;
    result.prefix_memory_bytes = 0;  // no call of this interface looks for earlier prompts
    if (options == nullptr) return result;
    const std::pair<const char*, const char*> texts[] = {
        {"device", options->device},       {"kv_format", options->kv_format},   {"io", options->io},
        {"direct_io", options->direct_io}, {"look_ahead", options->look_ahead}, {"warm_start", options->warm_start}};
    for (const auto& [name, text] : texts) {
        if (text != nullptr) sluice::set_option(result, name, text);
    }
    result.threads = options->threads;
    result.pin_threads = options->pin_threads != 0;
    result.exact = options->exact != 0;
    result.context = options->context_tokens;
    result.chunk = options->chunk_tokens;
    result.ram_bytes = options->ram_bytes;
    return result;
}

// What is refused changes neither session nor position; there are no logits then.
void evaluate(sluice_session* session, const int32_t* ids, size_t count, std::optional<int64_t> position,
              sluice::LogitsWanted wanted) {
    require(session, "session");
    session->logits.clear();
    require(ids, "ids");
    const sluice::SequenceInput input{
        .session = session->session.get(), .tokens = {ids, count}, .logits = wanted, .position = position};
    std::vector<sluice::SequenceOutput> outputs = session->engine->evaluate(std::span(&input, 1), session->progress);
    if (outputs[0].error) std::rethrow_exception(outputs[0].error);
    session->logits = std::move(outputs[0].logits);
}

const sluice::Tokenizer& tokenizer_of(const sluice_model* model) {
    require(model, "model");
    const sluice::Tokenizer* tokenizer = model->engine->tokenizer();
    if (tokenizer == nullptr) fail(ErrorCode::kNotFound, "{} has no tokenizer.json", model->engine->info().model_name);
    return *tokenizer;
}

}  // namespace

sluice_status sluice::c_api::remember(sluice_status status, const char* text) {
    try {
        last_error = {status, text};
    } catch (...) {
        last_error.status = status;
        last_error.text.clear();
    }
    return status;
}

const char* sluice_version(void) {
    return SLUICE_VERSION;
}
const char* sluice_last_error(void) {
    return last_error.text.c_str();
}
sluice_status sluice_last_status(void) {
    return last_error.status;
}

sluice_status sluice_model_open(const char* folder, const sluice_options* options, sluice_model** model) {
    return guarded([&] {
        require(model, "model");
        *model = nullptr;
        require(folder, "folder");
        auto opened = std::make_unique<sluice_model>();
        opened->engine = sluice::Engine::open(folder, to_engine_options(options));
        *model = opened.release();
    });
}

void sluice_model_close(sluice_model* model) {
    delete model;
}
int64_t sluice_model_vocabulary(const sluice_model* model) {
    return model == nullptr ? 0 : model->engine->info().vocabulary;
}
int64_t sluice_model_context(const sluice_model* model) {
    return model == nullptr ? 0 : model->engine->info().context;
}

void sluice_model_statistics(const sluice_model* model, sluice_statistics* statistics) {
    (void)guarded([&] {
        require(model, "model");
        require(statistics, "statistics");
        const sluice::EngineStatistics s = model->engine->statistics();
        const sluice::EngineInfo& info = model->engine->info();
        *statistics = {.experts = s.experts,
                       .peak_resident_bytes = s.peak_resident_bytes,
                       .tokens_evaluated = s.tokens_evaluated,
                       .cache_bytes = s.cache_bytes,
                       .ram_bytes = info.ram_bytes,
                       .kv_bytes_per_token = info.kv_bytes_per_token};
    });
}

sluice_status sluice_tokenize(const sluice_model* model, const char* text, int32_t* ids, size_t* count) {
    return guarded([&] {
        require(text, "text");
        require(count, "count");
        give(tokenizer_of(model).encode(text), ids, count);
    });
}

sluice_status sluice_detokenize(const sluice_model* model, const int32_t* ids, size_t id_count, char* text,
                                size_t* count) {
    return guarded([&] {
        require(ids, "ids");
        require(count, "count");
        give(tokenizer_of(model).decode({ids, ids + id_count}), text, count);
    });
}

sluice_status sluice_session_create(sluice_model* model, sluice_session** session) {
    return guarded([&] {
        require(session, "session");
        *session = nullptr;
        require(model, "model");
        auto created = std::make_unique<sluice_session>();
        created->engine = model->engine.get();
        created->session = model->engine->new_session();
        *session = created.release();
    });
}

void sluice_session_free(sluice_session* session) {
    delete session;
}
int64_t sluice_session_position(const sluice_session* session) {
    return session == nullptr ? 0 : session->session->position();
}

void sluice_session_set_progress(sluice_session* session, sluice_progress progress, void* user) {
    if (session == nullptr) return;
    if (progress == nullptr) {
        session->progress = {};
    } else {
        session->progress = [progress, user](int64_t done, int64_t total) { return progress(done, total, user) != 0; };
    }
}

sluice_status sluice_session_evaluate(sluice_session* session, const int32_t* ids, size_t count, int64_t position) {
    return guarded([&] { evaluate(session, ids, count, position, sluice::LogitsWanted::kLast); });
}

sluice_status sluice_session_evaluate_all(sluice_session* session, const int32_t* ids, size_t count, int64_t position) {
    return guarded([&] { evaluate(session, ids, count, position, sluice::LogitsWanted::kAll); });
}

sluice_status sluice_session_evaluate_token(sluice_session* session, int32_t id) {
    return guarded([&] { evaluate(session, &id, 1, std::nullopt, sluice::LogitsWanted::kLast); });
}

const float* sluice_session_logits(const sluice_session* session, size_t* rows) {
    if (rows != nullptr) *rows = 0;
    if (session == nullptr) return nullptr;
    const auto vocabulary = static_cast<size_t>(session->engine->info().vocabulary);
    if (rows != nullptr) *rows = session->logits.size() / vocabulary;
    return session->logits.empty() ? nullptr : session->logits.data();
}

sluice_status sluice_session_truncate(sluice_session* session, int64_t position) {
    return guarded([&] {
        require(session, "session");
        session->session->truncate(position);
        session->logits.clear();
    });
}

uint64_t sluice_session_state_bytes(const sluice_session* session) {
    uint64_t bytes = 0;
    (void)guarded([&] {
        require(session, "session");
        bytes = session->session->state_bytes();
    });
    return bytes;
}

sluice_status sluice_session_save(sluice_session* session, const char* path) {
    return guarded([&] {
        require(session, "session");
        require(path, "path");
        session->session->save(path);
    });
}

sluice_status sluice_session_load(sluice_session* session, const char* path) {
    return guarded([&] {
        require(session, "session");
        require(path, "path");
        session->session->load(path);
        session->logits.clear();
    });
}

sluice_status sluice_session_checkpoint(sluice_session* session, int64_t* checkpoint) {
    return guarded([&] {
        require(session, "session");
        require(checkpoint, "checkpoint");
        *checkpoint = session->session->checkpoint();
    });
}

sluice_status sluice_session_restore(sluice_session* session, int64_t checkpoint) {
    return guarded([&] {
        require(session, "session");
        session->session->restore(checkpoint);
        session->logits.clear();
    });
}

sluice_status sluice_session_drop_checkpoint(sluice_session* session, int64_t checkpoint) {
    return guarded([&] {
        require(session, "session");
        session->session->drop_checkpoint(checkpoint);
    });
}
