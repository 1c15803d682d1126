#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

/* The C interface of Sluice. Nothing but plain C types, status codes and text crosses it; no call exits or throws.
 *
 * Every call that can fail returns a sluice_status; sluice_last_error() then holds one line for a person, per thread.
 * Threads: different sessions may be used from different threads, one session by one thread at a time; the model
 * evaluates one forward pass at a time. Callbacks may call anything but what changes the session that is being
 * evaluated, which is refused with SLUICE_ERROR_USAGE. Getters give 0 for NULL. Sizes are bytes unless they say tokens.
 * Token ids are int32_t.
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

/* Zero or NULL in a field means its default. Texts are those of the command line's flags; the message for another one
 * lists what is taken. */
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

/* Of experts and of rows of n-gram tables, since the model was opened; none of them ever falls. hits + misses: what the
 * routers asked for. */
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
    uint64_t row_reads;      /* rows of n-gram tables that were read; not in reads */
    uint64_t row_hits;       /* rows that were in memory */
    uint64_t row_bytes;      /* what rows transferred, in bytes_read */
    uint64_t host_hits;      /* of the hits, those that were in the host's memory, not in the device's */
    uint64_t copies;         /* records that were copied from there, for hits and by look-ahead */
    uint64_t copied_bytes;   /* what they are */
    uint64_t reached_bytes;  /* that the device read in the host's memory instead */
    uint64_t copies_waited;  /* records that were handed out while they were on their way to the device */
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
 * before any, after one that failed and after whatever else changed the session. Valid until the session's next call.
 */
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

/* A request to generate, moved on by sluice_step. It has its session to itself until it is finished or freed, and must
 * be freed before it. One thread at a time; progress and cancel from any thread. */
typedef struct sluice_generation sluice_generation;

/* Sets the tokens that may come next in `words`, of which none is set: token i is bit i % 64 of word i / 64. `ids`:
 * what was generated so far. Called during sluice_step, with no lock held. */
typedef void (*sluice_mask)(const int32_t* ids, size_t count, uint64_t* words, size_t tokens, void* user);

/* To be filled by sluice_generation_defaults first. What it points to is copied by begin, but for mask_user. */
typedef struct sluice_generation_options {
    double temperature;                                             /* 0: the likeliest token */
    int64_t top_k;                                                  /* 0: off */
    double top_p;                                                   /* 1: off */
    double min_p;                                                   /* 0: off */
    double repetition_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0: off */
    uint64_t seed;
    int64_t max_tokens;
    int ignore_eos;
    const char* const* stop; /* texts at which to stop */
    size_t stop_count;
    const int32_t* bias_ids; /* added to their logits: -100 bans a token, 100 bans all that have less */
    const double* bias_values;
    size_t bias_count;
    int64_t log_probabilities; /* -1: none; else also of so many of the likeliest tokens at each place */
    sluice_mask mask;          /* NULL: every token may come */
    void* mask_user;
} sluice_generation_options;

typedef enum sluice_finish_reason {
    SLUICE_FINISH_NOT_YET = 0,
    SLUICE_FINISH_STOP = 1,
    SLUICE_FINISH_LENGTH = 2,
    SLUICE_FINISH_CONTEXT = 3,
    SLUICE_FINISH_CANCELLED = 4,
    SLUICE_FINISH_ERROR = 5
} sluice_finish_reason;

/* The model's own sampling, 256 tokens. */
void sluice_generation_defaults(const sluice_model* model, sluice_generation_options* options);
/* Continues the session with the prompt's tokens; evaluates nothing yet. `options` may be NULL: the defaults.
 * *generation is NULL on failure. */
sluice_status sluice_generation_begin(sluice_session* session, const int32_t* ids, size_t count,
                                      const sluice_generation_options* options, sluice_generation** generation);
/* The same for a text that is the whole of the session: what the session holds of its beginning is not evaluated again,
 * anything else in it goes. */
sluice_status sluice_generation_begin_text(sluice_session* session, const char* prompt,
                                           const sluice_generation_options* options, sluice_generation** generation);
/* One forward pass: a chunk of some prompts and a token of every other generation, of `token_budget` tokens at most (0:
 * what there is memory for). Who has waited longest goes first. Finished ones are passed over; what goes wrong with one
 * is that one's error, not the status. */
sluice_status sluice_step(sluice_model* model, sluice_generation* const* generations, size_t count,
                          int64_t token_budget);
int sluice_generation_finished(const sluice_generation* generation);
sluice_finish_reason sluice_generation_finish_reason(const sluice_generation* generation);
/* The status and, in sluice_last_error(), the text of what ended it; SLUICE_OK where nothing went wrong. */
sluice_status sluice_generation_error(const sluice_generation* generation);
/* What became certain since it was last taken: whole UTF-8 characters, no terminating 0. *count as for tokenize; with
 * too small a capacity nothing is taken. */
sluice_status sluice_generation_take_text(sluice_generation* generation, char* text, size_t* count);
/* All generated so far, without the end token. */
sluice_status sluice_generation_tokens(const sluice_generation* generation, int32_t* ids, size_t* count);
/* Natural logarithm of the probability of the generated token number `token`, and of the likeliest ones at its place;
 * the top_... may be NULL together. */
sluice_status sluice_generation_log_probability(const sluice_generation* generation, size_t token, float* value,
                                                int32_t* top_ids, float* top_values, size_t* top_count);
/* Tokens of the prompt evaluated or known before, and all of them. */
void sluice_generation_progress(const sluice_generation* generation, int64_t* done, int64_t* total);
/* The next step ends it. */
void sluice_generation_cancel(sluice_generation* generation);
void sluice_generation_free(sluice_generation* generation);

#ifdef __cplusplus
}
#endif

#endif
