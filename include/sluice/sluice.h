#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

/* The C interface of Sluice. Nothing but plain C types, status codes and text crosses it; no call exits or throws.
 *
 * Every call that can fail returns a sluice_status; sluice_last_error() then holds one line for a person, per thread.
 * Threads: different sessions may be used from different threads, one session by one thread at a time; the model
 * serializes evaluation. Sizes are bytes unless they say tokens. Token ids are int32_t.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sluice_status {
    SLUICE_OK = 0,
    SLUICE_ERROR_USAGE = 1,
    SLUICE_ERROR_NOT_FOUND = 2,
    SLUICE_ERROR_INVALID_FILE = 3,
    SLUICE_ERROR_UNSUPPORTED = 4,
    SLUICE_ERROR_OUT_OF_MEMORY = 5,
    SLUICE_ERROR_IO = 6,
    SLUICE_ERROR_CANCELLED = 7,
    SLUICE_ERROR_CONTEXT_FULL = 8,
    SLUICE_ERROR_INTERNAL = 100
} sluice_status;

typedef struct sluice_model sluice_model;
typedef struct sluice_session sluice_session;

/* Zero or NULL in a field means its default. */
typedef struct sluice_options {
    const char* device;     /* "cpu", "reference" */
    size_t threads;         /* 0: one per physical core */
    int pin_threads;        /* keep each but the caller's on a processor of its own */
    int exact;              /* float32 throughout */
    int64_t context_tokens; /* a session's capacity */
    int64_t chunk_tokens;   /* tokens of a prompt evaluated at once */
    const char* kv_format;  /* "f32", "bf16", "int8" */
    uint64_t ram_bytes;     /* ceiling for all the process holds */
    const char* io;         /* "auto", "pread", "uring", "mmap" */
    const char* direct_io;  /* "auto", "on", "off" */
    const char* look_ahead; /* "auto", "on", "off" */
    const char* warm_start; /* "on", "off": a file beside the model keeps which experts were used */
} sluice_options;

/* Called during long evaluations with tokens done and in all; a return of 0 cancels (SLUICE_ERROR_CANCELLED). */
typedef int (*sluice_progress)(int64_t done, int64_t total, void* user);

/* Of experts, since the model was opened; none of them ever falls. hits + misses: what the routers asked for. */
typedef struct sluice_expert_counters {
    uint64_t hits;           /* were in memory */
    uint64_t misses;         /* needed a read, or joined one under way */
    uint64_t joined;         /* of the misses, those that joined one */
    uint64_t reads;          /* records that the routers' needs had read */
    uint64_t failed_reads;   /* of any kind */
    uint64_t bytes_read;     /* of any kind, as the drive transferred them */
    uint64_t prefetch_reads; /* records read before they were asked for, by look-ahead; not in reads */
    uint64_t prefetch_hits;  /* of them, how many were asked for, landed or still under way */
    uint64_t warm_reads;     /* records read by the warm start; not in reads */
    uint64_t warm_hits;      /* of them, how many were asked for, landed or still under way */
    uint64_t warm_bytes;     /* what they transferred, in bytes_read */
    double stall_seconds;    /* the forward pass waited for the drive with nothing to compute */
} sluice_expert_counters;

typedef struct sluice_statistics {
    sluice_expert_counters experts;
    uint64_t peak_resident_bytes, tokens_evaluated;
    uint64_t cache_bytes, ram_bytes, kv_bytes_per_token;
} sluice_statistics;

/* The version of the library, "0.1.0". */
const char* sluice_version(void);
/* What went wrong in this thread's last failed call; "" when none did. Valid until this thread's next failing call. */
const char* sluice_last_error(void);
sluice_status sluice_last_status(void);

/* `options` may be NULL. *model is NULL on failure. The process gets a handler of SIGBUS that turns a mapped file's
 * cutting into SLUICE_ERROR_IO and passes on whatever else raises it. */
sluice_status sluice_model_open(const char* folder, const sluice_options* options, sluice_model** model);
/* All sessions must be freed before. NULL is allowed. */
void sluice_model_close(sluice_model* model);
int64_t sluice_model_vocabulary(const sluice_model* model);
int64_t sluice_model_context(const sluice_model* model);
void sluice_model_statistics(const sluice_model* model, sluice_statistics* statistics);

/* Text to ids and back. *count: capacity in, needed size out; with too small a capacity nothing is written and
 * SLUICE_ERROR_USAGE is returned. Text is UTF-8; detokenize counts bytes without a terminating 0 and writes none. */
sluice_status sluice_tokenize(const sluice_model* model, const char* text, int32_t* ids, size_t* count);
sluice_status sluice_detokenize(const sluice_model* model, const int32_t* ids, size_t id_count, char* text,
                                size_t* count);

sluice_status sluice_session_create(sluice_model* model, sluice_session** session);
void sluice_session_free(sluice_session* session);
/* Tokens in the session so far. */
int64_t sluice_session_position(const sluice_session* session);
/* Called during evaluation of this session; NULL takes it away. */
void sluice_session_set_progress(sluice_session* session, sluice_progress progress, void* user);

/* Evaluates `count` tokens from `position` on: what the session holds beyond `position` is truncated first. */
sluice_status sluice_session_evaluate(sluice_session* session, const int32_t* ids, size_t count, int64_t position);
/* The same, keeping the logits of every one of these tokens instead of the last one's. */
sluice_status sluice_session_evaluate_all(sluice_session* session, const int32_t* ids, size_t count, int64_t position);
/* One more token at the end. */
sluice_status sluice_session_evaluate_token(sluice_session* session, int32_t id);
/* Logits of the last evaluation: [*rows, vocabulary], row-major, the last row being the last token's. NULL and 0 rows
 * before any. Valid until the session's next call. */
const float* sluice_session_logits(const sluice_session* session, size_t* rows);

/* Goes back to `position` tokens. Exact: recurrent layers go back to a checkpoint (or the start), and the tokens in
 * between are evaluated again by the next evaluation. Refused outside 0..position. */
sluice_status sluice_session_truncate(sluice_session* session, int64_t position);
/* Memory held by this session's caches, states and checkpoints; what they share counts once. */
uint64_t sluice_session_state_bytes(const sluice_session* session);
/* A snapshot file: complete or not there at all. load refuses, changing nothing, a snapshot of another model or KV
 * format, and a damaged one. */
sluice_status sluice_session_save(sluice_session* session, const char* path);
sluice_status sluice_session_load(sluice_session* session, const char* path);
/* Remembers the present state in memory, and goes back to it bit-identically. */
sluice_status sluice_session_checkpoint(sluice_session* session, int64_t* checkpoint);
sluice_status sluice_session_restore(sluice_session* session, int64_t checkpoint);
sluice_status sluice_session_drop_checkpoint(sluice_session* session, int64_t checkpoint);

#ifdef __cplusplus
}
#endif

#endif
