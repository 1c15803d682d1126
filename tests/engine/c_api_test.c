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

int main(int argc, char** argv) {
    CHECK(argc == 3);
    CHECK(strlen(sluice_version()) > 0);
    check_errors(argv[1]);

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
    sluice_session_set_progress(session, refuse, NULL);
    CHECK(sluice_session_evaluate(session, prompt, 10, 0) == SLUICE_ERROR_CANCELLED);
    sluice_session_set_progress(session, NULL, NULL);

    sluice_statistics statistics;
    sluice_model_statistics(model, &statistics);
    CHECK(statistics.tokens_evaluated >= 26 && statistics.experts.hits + statistics.experts.misses > 0);

    int32_t ids[4];
    size_t count = 4;
    CHECK(sluice_tokenize(model, "text", ids, &count) == SLUICE_ERROR_NOT_FOUND);

    free(last);
    sluice_session_free(other);
    sluice_session_free(session);
    sluice_model_close(model);
    puts("1 passed, 0 failed");
    return 0;
}
