#define _GNU_SOURCE
#include "bench/yardstick.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { kMemoryThreads = 2, kDriveThreads = 4, kMostThreads = 4, kDriveReads = 8, kRounds = 10000000, kTries = 3 };
static const size_t kMemoryBytes = (size_t)64 << 20; /* of each thread */
static const size_t kDriveBytes = (size_t)2 << 20;   /* of each read */
static const size_t kAlignment = (size_t)2 << 20;    /* of huge pages */

typedef struct Part {
    unsigned char* buffer;
    int file;
    uint64_t file_bytes;
    uint64_t random;
    uint64_t result; /* keeps the work from being left out */
    int failed;
} Part;

static uint64_t next_random(uint64_t* state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void* read_memory(void* argument) {
    Part* part = argument;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < kMemoryBytes; i += 64) {
        uint64_t line[8];
        memcpy(line, part->buffer + i, sizeof line);
        for (int k = 0; k < 8; ++k) sums[k] += line[k];
    }
    for (int k = 0; k < 8; ++k) part->result += sums[k];
    return NULL;
}

static void* read_drive(void* argument) {
    Part* part = argument;
    for (int i = 0; i < kDriveReads && !part->failed; ++i) {
        const uint64_t place = next_random(&part->random) % (part->file_bytes / kDriveBytes);
        part->failed =
            pread(part->file, part->buffer, kDriveBytes, (off_t)(place * kDriveBytes)) != (ssize_t)kDriveBytes;
    }
    return NULL;
}

static void* count_rounds(void* argument) {
    Part* part = argument;
    for (int i = 0; i < kRounds; ++i) part->result += next_random(&part->random);
    return NULL;
}

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Seconds that `threads` threads take together; negative where one could not be started. */
static double run(void* (*work)(void*), Part* parts, int threads) {
    pthread_t handles[kMostThreads];
    int started = 0;
    const double begin = now_seconds();
    while (started < threads && pthread_create(&handles[started], NULL, work, &parts[started]) == 0) ++started;
    for (int i = 0; i < started; ++i) pthread_join(handles[i], NULL);
    return started == threads ? now_seconds() - begin : -1;
}

static double best_run(void* (*work)(void*), Part* parts, int threads) {
    double best = run(work, parts, threads);
    for (int i = 1; i < kTries; ++i) {
        const double seconds = run(work, parts, threads);
        if (seconds < best) best = seconds;
    }
    return best;
}

static int measure(const char* path, Part* parts, Yardstick* result) {
    struct stat status;
    const int file = open(path, O_RDONLY | O_DIRECT);
    result->drive_bytes_per_second = 0;
    if (file >= 0 && fstat(file, &status) == 0 && (size_t)status.st_size >= kDriveThreads * kDriveBytes) {
        for (int i = 0; i < kDriveThreads; ++i) {
            parts[i].file = file;
            parts[i].file_bytes = (uint64_t)status.st_size;
        }
        const double seconds = run(read_drive, parts, kDriveThreads);
        int failed = seconds <= 0;
        for (int i = 0; i < kDriveThreads; ++i) failed |= parts[i].failed;
        if (!failed) result->drive_bytes_per_second = (double)(kDriveThreads * kDriveReads * kDriveBytes) / seconds;
    }
    if (file >= 0) close(file);
    const double memory_seconds = best_run(read_memory, parts, kMemoryThreads);
    const double rounds_seconds = best_run(count_rounds, parts, kMemoryThreads);
    if (memory_seconds <= 0 || rounds_seconds <= 0) return -1;
    result->memory_bytes_per_second = (double)(kMemoryThreads * kMemoryBytes) / memory_seconds;
    result->rounds_per_second = (double)kMemoryThreads * kRounds / rounds_seconds;
    return 0;
}

int measure_yardstick(const char* file, Yardstick* result) {
    static unsigned char* buffers[kMostThreads]; /* stay, so that every measurement reads the same pages */
    static uint64_t seed = 88172645463325252u;
    Part parts[kMostThreads];
    memset(parts, 0, sizeof parts);
    for (int i = 0; i < kMostThreads; ++i) {
        const size_t bytes = i < kMemoryThreads ? kMemoryBytes : kDriveBytes;
        if (buffers[i] == NULL) {
            buffers[i] = aligned_alloc(kAlignment, bytes);
            if (buffers[i] == NULL) return -1;
            madvise(buffers[i], bytes, MADV_HUGEPAGE); /* without them it is only slower */
            memset(buffers[i], 1, bytes);
        }
        parts[i].buffer = buffers[i];
        parts[i].random = next_random(&seed);
    }
    return measure(file, parts, result);
}
