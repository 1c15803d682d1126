#ifndef SLUICE_BENCH_YARDSTICK_H
#define SLUICE_BENCH_YARDSTICK_H

/* What the machine gives at this moment, in a tenth of a second: tells a slower machine from a slower program. */
typedef struct Yardstick {
    double memory_bytes_per_second; /* two threads that read memory far larger than the caches */
    double drive_bytes_per_second;  /* direct reads of 2 MB, four at a time; 0 where the file system refuses them */
    double rounds_per_second;       /* two threads of dependent arithmetic in registers */
} Yardstick;

/* `file`: any of 64 MB or more. Returns 0, or -1 where memory, threads or the file failed. */
int measure_yardstick(const char* file, Yardstick* result);

#endif
