/* The C header alone, as a C program sees it. Argument: a model folder and a folder to write in. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/sluice.h"

#define CHECK(condition)                                                                                          \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, sluice_last_error()); \
            exit(1);                                                                                              \
        }                                                                                                         \
    } while (0)

static int count_calls(int64_t done, int64_t total, void* user) {
    CHECK(done <= total);
    ++*(int*)user;
    return 1;
}

static int refuse(int64_t done, int64_t total, void* user) {
    (void)done, (void)total, (void)user;
    return 0;
}

static void check_errors(const char* folder) {
    sluice_model* model = (sluice_model*)1;
    CHECK(sluice_model_open("/nowhere", NULL, &model) == SLUICE_ERROR_NOT_FOUND);
    CHECK(model == NULL);
    CHECK(strstr(sluice_last_error(), "nowhere") != NULL);
    CHECK(sluice_last_status() == SLUICE_ERROR_NOT_FOUND);
    CHECK(sluice_model_open(NULL, NULL, &model) == SLUICE_ERROR_USAGE);
    sluice_options options;
    memset(&options, 0, sizeof options);
    options.ram_bytes = 1000;
    CHECK(sluice_model_open(folder, &options, &model) == SLUICE_ERROR_OUT_OF_MEMORY);
}

static void even_tokens(const int32_t* ids, size_t count, uint64_t* words, size_t tokens, void* user) {
    (void)ids;
    CHECK(words[0] == 0);
    for (size_t i = 0; i < (tokens + 63) / 64; ++i) words[i] = 0x5555555555555555u;
    *(size_t*)user = count + 1;
}

static int call_back(int64_t done, int64_t total, void* user) {
    (void)done, (void)total;
    sluice_session* session = user;
    const int32_t id = 1;
    CHECK(sluice_session_evaluate_token(session, id) == SLUICE_ERROR_USAGE);
    CHECK(sluice_session_state_bytes(session) > 0);
    return 1;
}

static void check_generations(sluice_model* model) {
    sluice_session* sessions[2];
    sluice_generation* generations[2];
    sluice_generation_options options;
    sluice_generation_defaults(model, &options);
    CHECK(options.max_tokens > 0 && options.log_probabilities == -1 && options.top_p > 0);
    size_t masked = 0;
    const int32_t prompt[10] = {3, 14, 15, 92, 65, 35, 89, 79, 32, 38};
    options.temperature = 0;
    options.max_tokens = 5;
    options.ignore_eos = 1;
    options.log_probabilities = 2;
    for (int i = 0; i < 2; ++i) {
        CHECK(sluice_session_create(model, &sessions[i]) == SLUICE_OK);
        options.mask = i == 1 ? even_tokens : NULL;
        options.mask_user = &masked;
        CHECK(sluice_generation_begin(sessions[i], prompt, 10, &options, &generations[i]) == SLUICE_OK);
    }
    sluice_generation* again = (sluice_generation*)1;
    CHECK(sluice_generation_begin(sessions[0], prompt, 10, NULL, &again) == SLUICE_ERROR_USAGE && again == NULL);
    CHECK(sluice_generation_begin_text(sessions[0], "text", NULL, &again) == SLUICE_ERROR_USAGE);
    options.top_p = 7;
    CHECK(sluice_generation_begin(sessions[0], prompt, 10, &options, &again) == SLUICE_ERROR_USAGE);
    int steps = 0;
    while (!sluice_generation_finished(generations[0])) {
        CHECK(sluice_generation_finish_reason(generations[0]) == SLUICE_FINISH_NOT_YET);
        CHECK(sluice_step(model, generations, 2, 0) == SLUICE_OK);
        ++steps;
    }
    CHECK(steps == 7); /* three pieces of the prompt, the last of which gives the first of five tokens */
    int64_t done = 0, total = 0;
    sluice_generation_progress(generations[0], &done, &total);
    CHECK(done == 10 && total == 10);
    for (int i = 0; i < 2; ++i) {
        CHECK(sluice_generation_finish_reason(generations[i]) == SLUICE_FINISH_LENGTH);
        CHECK(sluice_generation_error(generations[i]) == SLUICE_OK);
        int32_t ids[5];
        size_t count = 2;
        CHECK(sluice_generation_tokens(generations[i], ids, &count) == SLUICE_ERROR_USAGE && count == 5);
        CHECK(sluice_generation_tokens(generations[i], ids, &count) == SLUICE_OK);
        for (size_t t = 0; t < 5; ++t) CHECK(i == 0 || ids[t] % 2 == 0);
        float value = 1, top_values[2];
        int32_t top_ids[2];
        size_t top = 2;
        CHECK(sluice_generation_log_probability(generations[i], 4, &value, top_ids, top_values, &top) == SLUICE_OK);
        CHECK(top == 2 && value <= 0 && top_values[0] >= top_values[1] && value <= top_values[0]);
        CHECK(i == 1 || (top_ids[0] == ids[4] && top_values[0] == value));
        CHECK(sluice_generation_log_probability(generations[i], 5, &value, NULL, NULL, NULL) == SLUICE_ERROR_USAGE);
    }
    CHECK(masked == 5);
    sluice_generation_free(generations[0]);
    CHECK(sluice_generation_begin(sessions[0], prompt, 10, NULL, &generations[0]) == SLUICE_OK);
    sluice_generation_cancel(generations[0]);
    CHECK(sluice_step(model, generations, 1, 0) == SLUICE_OK);
    CHECK(sluice_generation_finish_reason(generations[0]) == SLUICE_FINISH_CANCELLED);
    CHECK(sluice_session_position(sessions[0]) == 14);
    for (int i = 0; i < 2; ++i) {
        sluice_generation_free(generations[i]);
        sluice_session_free(sessions[i]);
    }
}

/* No getter follows NULL. */
static void check_null(void) {
    size_t rows = 1;
    CHECK(sluice_model_vocabulary(NULL) == 0 && sluice_model_context(NULL) == 0);
    CHECK(sluice_session_position(NULL) == 0 && sluice_session_state_bytes(NULL) == 0);
    CHECK(sluice_session_logits(NULL, &rows) == NULL && rows == 0);
    CHECK(sluice_generation_finished(NULL) && sluice_generation_error(NULL) == SLUICE_ERROR_USAGE);
    sluice_model_statistics(NULL, NULL);
    sluice_session_set_progress(NULL, NULL, NULL);
    sluice_session_free(NULL);
    sluice_generation_free(NULL);
    sluice_generation_cancel(NULL);
}

int main(int argc, char** argv) {
    CHECK(argc == 3);
    CHECK(strlen(sluice_version()) > 0);
    check_errors(argv[1]);
    check_null();

    sluice_options options;
    memset(&options, 0, sizeof options);
    options.threads = 1;
    options.chunk_tokens = 4;
    sluice_model* model = NULL;
    CHECK(sluice_model_open(argv[1], &options, &model) == SLUICE_OK);
    const int64_t vocabulary = sluice_model_vocabulary(model);
    CHECK(vocabulary > 0 && sluice_model_context(model) > 0);

    sluice_session* session = NULL;
    CHECK(sluice_session_create(model, &session) == SLUICE_OK);
    size_t rows = 1;
    CHECK(sluice_session_logits(session, &rows) == NULL && rows == 0);
    int calls = 0;
    sluice_session_set_progress(session, count_calls, &calls);
    const int32_t prompt[10] = {3, 14, 15, 92, 65, 35, 89, 79, 32, 38};
    CHECK(sluice_session_evaluate(session, prompt, 10, 0) == SLUICE_OK);
    CHECK(calls == 3);
    CHECK(sluice_session_position(session) == 10);
    float* last = malloc(sizeof(float) * (size_t)vocabulary);
    memcpy(last, sluice_session_logits(session, &rows), sizeof(float) * (size_t)vocabulary);
    CHECK(rows == 1 && isfinite(last[0]));

    /* All positions: the last row is the same as before. */
    CHECK(sluice_session_evaluate_all(session, prompt, 10, 0) == SLUICE_OK);
    const float* all = sluice_session_logits(session, &rows);
    CHECK(rows == 10);
    CHECK(memcmp(all + 9 * vocabulary, last, sizeof(float) * (size_t)vocabulary) == 0);

    /* Evaluating from the middle replaces what was there. */
    CHECK(sluice_session_evaluate(session, prompt + 6, 4, 6) == SLUICE_OK);
    CHECK(memcmp(sluice_session_logits(session, &rows), last, sizeof(float) * (size_t)vocabulary) == 0);

    char path[4096];
    snprintf(path, sizeof path, "%s/c-session.safetensors", argv[2]);
    int64_t checkpoint = 0;
    CHECK(sluice_session_checkpoint(session, &checkpoint) == SLUICE_OK);
    CHECK(sluice_session_save(session, path) == SLUICE_OK);
    CHECK(sluice_session_evaluate_token(session, 7) == SLUICE_OK);
    memcpy(last, sluice_session_logits(session, &rows), sizeof(float) * (size_t)vocabulary);
    CHECK(sluice_session_position(session) == 11);
    CHECK(sluice_session_restore(session, checkpoint) == SLUICE_OK);
    CHECK(sluice_session_position(session) == 10);
    CHECK(sluice_session_drop_checkpoint(session, checkpoint) == SLUICE_OK);
    CHECK(sluice_session_restore(session, checkpoint) == SLUICE_ERROR_USAGE);

    sluice_session* other = NULL;
    CHECK(sluice_session_create(model, &other) == SLUICE_OK);
    CHECK(sluice_session_load(other, path) == SLUICE_OK);
    CHECK(sluice_session_evaluate_token(other, 7) == SLUICE_OK);
    CHECK(memcmp(sluice_session_logits(other, &rows), last, sizeof(float) * (size_t)vocabulary) == 0);
    CHECK(sluice_session_load(other, "/nowhere/session") == SLUICE_ERROR_NOT_FOUND);
    CHECK(sluice_session_state_bytes(other) > 0);

    CHECK(sluice_session_truncate(session, 5) == SLUICE_OK);
    CHECK(sluice_session_truncate(session, 6) == SLUICE_ERROR_USAGE);
    CHECK(sluice_session_evaluate(session, prompt, 0, 0) == SLUICE_ERROR_USAGE);
    const int32_t outside = (int32_t)vocabulary;
    CHECK(sluice_session_evaluate(session, &outside, 1, 0) == SLUICE_ERROR_USAGE);
    CHECK(sluice_session_position(session) == 5); /* what is refused changes nothing, and has no logits */
    CHECK(sluice_session_logits(session, &rows) == NULL && rows == 0);
    sluice_session_set_progress(session, call_back, session);
    CHECK(sluice_session_evaluate(session, prompt, 10, 0) == SLUICE_OK);
    CHECK(sluice_session_position(session) == 10);
    sluice_session_set_progress(session, refuse, NULL);
    CHECK(sluice_session_evaluate(session, prompt, 10, 0) == SLUICE_ERROR_CANCELLED);
    sluice_session_set_progress(session, NULL, NULL);

    sluice_statistics statistics;
    sluice_model_statistics(model, &statistics);
    CHECK(statistics.tokens_evaluated >= 26 && statistics.experts.hits + statistics.experts.misses > 0);

    int32_t ids[4];
    size_t count = 4;
    CHECK(sluice_tokenize(model, "text", ids, &count) == SLUICE_ERROR_NOT_FOUND);

    check_generations(model);
    free(last);
    sluice_session_free(other);
    sluice_session_free(session);
    sluice_model_close(model);
    puts("1 passed, 0 failed");
    return 0;
}
