/* A link between the processes of a job on one machine: what an MPI program receives is there only when it would have
 * come over a link of a rate and a delay. Takes the place of four functions of MPI by its profiling interface; takes no
 * processor time but that of asking the clock. bench/cluster_netns.sh compiles and preloads it.
 *
 *   SLUICE_LINK=FILE:MICROSECONDS:GIGABITS     FILE: zeros, shared by all processes; of each host both ways
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RANKS = 8, KEPT = 1 << 12, UNDER_WAY = 1 << 10 };

/* When message n from one rank to another is wholly there, in nanoseconds. */
struct Link {
    _Atomic uint64_t there[RANKS][RANKS][KEPT];
};

struct Awaited {
    MPI_Request shown; /* what the program holds until the message is there */
    MPI_Request real;
    MPI_Status status;
    int from, arrived;
    uint64_t number, ready;
};

static struct Link* link_;
static double delay_ns, ns_per_byte;
static int rank_;
static uint64_t sent[RANKS], received[RANKS], way_out_free, way_in_free;
static struct Awaited awaited[UNDER_WAY];

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void fail(const char* what) {
    fprintf(stderr, "slow_link: %s\n", what);
    exit(1);
}

int MPI_Init_thread(int* count, char*** arguments, int required, int* provided) {
    const int status = PMPI_Init_thread(count, arguments, required, provided);
    char file[4096];
    double microseconds, gigabits;
    const char* how = getenv("SLUICE_LINK");
    if (how == NULL || sscanf(how, "%4095[^:]:%lf:%lf", file, &microseconds, &gigabits) != 3) fail("no SLUICE_LINK");
    const int descriptor = open(file, O_RDWR);
    if (descriptor < 0 || ftruncate(descriptor, sizeof(struct Link)) != 0) fail("cannot open the file");
    link_ = mmap(NULL, sizeof(struct Link), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (link_ == MAP_FAILED) fail("cannot map the file");
    close(descriptor);
    delay_ns = 1e3 * microseconds;
    ns_per_byte = 8 / gigabits;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    return status;
}

int MPI_Isend(const void* bytes, int count, MPI_Datatype type, int to, int tag, MPI_Comm world, MPI_Request* request) {
    way_out_free = later(now(), way_out_free) + (uint64_t)(count * ns_per_byte);
    link_->there[rank_][to][sent[to]++ % KEPT] = way_out_free + (uint64_t)delay_ns;
    return PMPI_Isend(bytes, count, type, to, tag, world, request);
}

int MPI_Irecv(void* bytes, int count, MPI_Datatype type, int from, int tag, MPI_Comm world, MPI_Request* request) {
    const int status = PMPI_Irecv(bytes, count, type, from, tag, world, request);
    for (struct Awaited* each = awaited; each < awaited + UNDER_WAY; ++each) {
        if (each->shown != 0) continue;
        *each = (struct Awaited){.shown = *request, .real = *request, .from = from, .number = received[from]++};
        return status;
    }
    fail("too many messages are under way");
    return status;
}

int MPI_Test(MPI_Request* request, int* flag, MPI_Status* status) {
    struct Awaited* each = awaited;
    while (each < awaited + UNDER_WAY && each->shown != *request) ++each;
    if (each == awaited + UNDER_WAY) return PMPI_Test(request, flag, status);
    if (!each->arrived) {
        const int error = PMPI_Test(&each->real, &each->arrived, &each->status);
        if (error != MPI_SUCCESS || !each->arrived) {
            *flag = 0;
            return error;
        }
        int count = 0;
        PMPI_Get_count(&each->status, MPI_BYTE, &count);
        const uint64_t there = link_->there[each->from][rank_][each->number % KEPT];
        each->ready = way_in_free = later(there, way_in_free + (uint64_t)(count * ns_per_byte));
    } else {
        int flag_of_others = 0;
        PMPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag_of_others, MPI_STATUS_IGNORE);
    }
    *flag = now() >= each->ready;
    if (!*flag) return MPI_SUCCESS;
    *status = each->status;
    *request = MPI_REQUEST_NULL;
    each->shown = 0;
    return MPI_SUCCESS;
}
