/* How many tokens a model makes a second for several sequences at once, over the C interface:
 *     sequences MODEL DEVICE PROMPT_TOKENS TOKENS TEMPERATURE COUNT...
 * Every COUNT of sequences by itself: all prompts are evaluated, then a token of each at every step. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sluice/sluice.h"

enum { kMostSequences = 256, kWarmSteps = 4, kPageTokens = 256 };

typedef struct Work {
    size_t prompt_tokens, tokens;
    double temperature;
} Work;

typedef struct Sequences {
    sluice_session* sessions[kMostSequences];
    sluice_generation* generations[kMostSequences];
} Sequences;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int report_failure(const char* what) {
    fprintf(stderr, "sequences: %s: %s\n", what, sluice_last_error());
    return 1;
}

static int begin_one(sluice_model* model, const Work* work, size_t number, Sequences* all) {
    const int64_t vocabulary = sluice_model_vocabulary(model);
    int32_t* ids = malloc(work->prompt_tokens * sizeof(int32_t));
    if (ids == NULL) return report_failure("memory");
    uint64_t state = number + 1;
    for (size_t i = 0; i < work->prompt_tokens; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((state >> 33) % (uint64_t)vocabulary);
    }
    sluice_generation_options options;
    sluice_generation_defaults(model, &options);
    options.temperature = work->temperature;
    options.seed = number;
    options.max_tokens = (int64_t)(kWarmSteps + work->tokens + 1);
    options.ignore_eos = 1;
    int failed = 0;
    if (sluice_session_create(model, &all->sessions[number]) != SLUICE_OK ||
        sluice_generation_begin(all->sessions[number], ids, work->prompt_tokens, &options, &all->generations[number]) !=
            SLUICE_OK)
        failed = report_failure("a sequence");
    free(ids);
    return failed;
}

static int step(sluice_model* model, const Sequences* all, size_t count) {
    if (sluice_step(model, (sluice_generation* const*)all->generations, count, 0) != SLUICE_OK)
        return report_failure("a step");
    for (size_t i = 0; i < count; ++i) {
        if (sluice_generation_error(all->generations[i]) != SLUICE_OK) return report_failure("a sequence");
    }
    return 0;
}

static int prompts_are_done(const Sequences* all, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        int64_t done = 0, total = 0;
        sluice_generation_progress(all->generations[i], &done, &total);
        if (done < total) return 0;
    }
    return 1;
}

static int measure_steps(sluice_model* model, const Work* work, const Sequences* all, size_t count) {
    const double begin = seconds();
    while (!prompts_are_done(all, count)) {
        if (step(model, all, count)) return 1;
    }
    const double prompts = seconds() - begin;
    for (int i = 0; i < kWarmSteps; ++i) {
        if (step(model, all, count)) return 1;
    }
    size_t before = 0, after = 0;
    for (size_t i = 0; i < count; ++i) {
        size_t made = 0;
        (void)sluice_generation_tokens(all->generations[i], NULL, &made);
        before += made;
    }
    const double first = seconds();
    for (size_t i = 0; i < work->tokens; ++i) {
        if (step(model, all, count)) return 1;
    }
    const double spent = seconds() - first;
    for (size_t i = 0; i < count; ++i) {
        size_t made = 0;
        (void)sluice_generation_tokens(all->generations[i], NULL, &made);
        after += made;
    }
    printf("%3zu sequences after %zu tokens: prompts %.0f tok/s, then %.1f tok/s together, %.3f ms a step\n", count,
           work->prompt_tokens, (double)(count * work->prompt_tokens) / prompts, (double)(after - before) / spent,
           1e3 * spent / (double)work->tokens);
    fflush(stdout);
    return 0;
}

static int measure(sluice_model* model, const Work* work, size_t count) {
    Sequences all;
    memset(&all, 0, sizeof(all));
    int failed = 0;
    for (size_t i = 0; i < count && !failed; ++i) failed = begin_one(model, work, i, &all);
    if (!failed) failed = measure_steps(model, work, &all, count);
    for (size_t i = 0; i < count; ++i) {
        sluice_generation_free(all.generations[i]);
        sluice_session_free(all.sessions[i]);
    }
    return failed;
}

int main(int argc, char** argv) {
    if (argc < 7) {
        fprintf(stderr, "usage: sequences MODEL DEVICE PROMPT_TOKENS TOKENS TEMPERATURE COUNT...\n");
        return 2;
    }
    const Work work = {strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), atof(argv[5])};
    sluice_options options;
    memset(&options, 0, sizeof(options));
    options.device = argv[2];
    size_t most = 1;
    for (int i = 6; i < argc; ++i) {
        const size_t count = strtoull(argv[i], NULL, 10);
        if (count > most) most = count;
    }
    /* A card has memory for four whole contexts, in pages. */
    const size_t pages = (work.prompt_tokens + work.tokens + kWarmSteps + 2 + kPageTokens - 1) / kPageTokens;
    options.context_tokens = (int64_t)(pages * kPageTokens * ((most + 3) / 4));
    sluice_model* model = NULL;
    if (sluice_model_open(argv[1], &options, &model) != SLUICE_OK) return report_failure("opening the model");
    int failed = 0;
    for (int i = 6; i < argc && !failed; ++i) {
        const size_t count = strtoull(argv[i], NULL, 10);
        failed = count == 0 || count > kMostSequences ? 2 : measure(model, &work, count);
    }
    sluice_model_close(model);
    return failed;
}
