/* An hour of mixed requests on one open engine, over the C interface: soak MODEL HOURS [RAM_BYTES].
 * One line of JSON per request on stdout. Ends with status 1 when a request fails. */

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/yardstick.h"
#include "sluice/sluice.h"

enum { kContext = 4096, kLongestPrompt = 1536 };

typedef struct Request {
    size_t prompt_tokens, generate_tokens;
} Request;

typedef struct Random {
    uint64_t state;
} Random;

static uint32_t draw(Random* random, uint32_t below) {
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random->state >> 33) % below;
}

/* Mostly short questions, now and then a long document. */
static Request draw_request(Random* random) {
    static const size_t prompts[] = {12, 40, 40, 120, 120, 300, 512, kLongestPrompt};
    static const size_t answers[] = {8, 32, 32, 64, 128};
    const Request request = {prompts[draw(random, 8)], answers[draw(random, 5)]};
    return request;
}

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t resident_bytes(void) {
    unsigned long long pages = 0;
    FILE* file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int32_t likeliest(const float* logits, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 1; i < count; ++i) {
        if (logits[i] > logits[best]) best = i;
    }
    return (int32_t)best;
}

static int report_failure(const char* what) {
    fprintf(stderr, "soak: %s: %s\n", what, sluice_last_error());
    return 1;
}

/* A weights file of the model into `path`: the model itself, or one of its folder. */
static void find_weights(const char* model, char* path, size_t bytes) {
    snprintf(path, bytes, "%s", model);
    DIR* folder = opendir(model);
    if (folder == NULL) return;
    for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
        const char* dot = strrchr(entry->d_name, '.');
        if (dot != NULL && strcmp(dot, ".safetensors") == 0) snprintf(path, bytes, "%s/%s", model, entry->d_name);
    }
    closedir(folder);
}

/* Evaluates the prompt and generates; *prefill_ends is the time in between. */
static int run_request(sluice_session* session, Request request, int64_t vocabulary, Random* random,
                       double* prefill_ends, double* prefill_cpu_ends) {
    int32_t ids[kLongestPrompt];
    for (size_t i = 0; i < request.prompt_tokens; ++i) ids[i] = (int32_t)draw(random, (uint32_t)vocabulary);
    if (sluice_session_evaluate(session, ids, request.prompt_tokens, 0) != SLUICE_OK) return report_failure("a prompt");
    *prefill_ends = seconds_of(CLOCK_MONOTONIC);
    *prefill_cpu_ends = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < request.generate_tokens; ++i) {
        const int32_t id = likeliest(sluice_session_logits(session, NULL), vocabulary);
        if (sluice_session_evaluate_token(session, id) != SLUICE_OK) return report_failure("a token");
    }
    return 0;
}

static int soak(sluice_model* model, const char* weights, double seconds) {
    const int64_t vocabulary = sluice_model_vocabulary(model);
    const double start = seconds_of(CLOCK_MONOTONIC);
    Random random = {1};
    while (seconds_of(CLOCK_MONOTONIC) - start < seconds) {
        const Request request = draw_request(&random);
        sluice_session* session = NULL;
        sluice_statistics before, after;
        Yardstick machine;
        if (measure_yardstick(weights, &machine) != 0) return report_failure("measuring the machine");
        double prefill_ends = 0, prefill_cpu_ends = 0;
        if (sluice_session_create(model, &session) != SLUICE_OK) return report_failure("a session");
        sluice_model_statistics(model, &before);
        const double begin = seconds_of(CLOCK_MONOTONIC), cpu_begin = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        const int failed = run_request(session, request, vocabulary, &random, &prefill_ends, &prefill_cpu_ends);
        const double end = seconds_of(CLOCK_MONOTONIC), cpu_end = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        sluice_model_statistics(model, &after);
        sluice_session_free(session);
        if (failed) return 1;
        printf(
            "{\"at_s\": %.1f, \"prompt_tokens\": %zu, \"generated_tokens\": %zu, \"prefill_s\": %.3f, "
            "\"decode_s\": %.3f, \"prefill_cpu_s\": %.3f, \"decode_cpu_s\": %.3f, \"hits\": %" PRIu64
            ", \"misses\": %" PRIu64 ", \"bytes_read\": %" PRIu64 ", \"stall_s\": %.3f, \"cache_bytes\": %" PRIu64
            ", \"resident_bytes\": %" PRIu64
            ", \"memory_gb_s\": %.2f, \"drive_gb_s\": %.2f, \"mega_rounds_s\": %.1f}\n",
            end - start, request.prompt_tokens, request.generate_tokens, prefill_ends - begin, end - prefill_ends,
            prefill_cpu_ends - cpu_begin, cpu_end - prefill_cpu_ends, after.experts.hits - before.experts.hits,
            after.experts.misses - before.experts.misses, after.experts.bytes_read - before.experts.bytes_read,
            after.experts.stall_seconds - before.experts.stall_seconds, after.cache_bytes, resident_bytes(),
            machine.memory_bytes_per_second / 1e9, machine.drive_bytes_per_second / 1e9,
            machine.rounds_per_second / 1e6);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char** argv) {
    if (argc < 3 || argc > 4 || atof(argv[2]) <= 0) {
        fprintf(stderr, "usage: soak MODEL HOURS [RAM_BYTES]\n");
        return 2;
    }
    sluice_options options;
    memset(&options, 0, sizeof(options));
    options.context_tokens = kContext;
    if (argc == 4) options.ram_bytes = strtoull(argv[3], NULL, 10);
    char weights[4096];
    find_weights(argv[1], weights, sizeof weights);
    sluice_model* model = NULL;
    Yardstick machine; /* takes its memory before the model measures what is free */
    if (measure_yardstick(weights, &machine) != 0) return report_failure("measuring the machine");
    if (sluice_model_open(argv[1], &options, &model) != SLUICE_OK) return report_failure("opening the model");
    const int status = soak(model, weights, 3600 * atof(argv[2]));
    sluice_model_close(model);
    return status;
}
