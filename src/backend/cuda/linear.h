#pragma once

// Products with weights of every format. A product is a list of jobs that share the format and the sizes of their
// matrices: the rows of a batch times one weight, or of some rows each times the weight of an expert.

#include <cstdint>

#include "backend/cuda/weight.h"
#include "backend/operations.h"

namespace sluice::cuda {

// The rows [count, columns] of `x` that are listed, or all, times one matrix; row i goes to out row out_rows[i], or i.
struct Job {
    const uint8_t *data, *scales, *zero_points;
    const float* x;
    const float* up;    // where there is one, x is activation(x, up)
    const float* bias;  // null: zero
    float* out;
    const int32_t *x_rows, *out_rows;  // null: 0, 1, ...
    int32_t x_rows_stride, out_rows_stride;
    int32_t count, block_row_offset;
    int32_t bias_stride;  // from one expert's to the next one's
    // 0: as the product says.
    int32_t outputs;
    int64_t out_stride;
};

// Where the records of ExpertRecords are: how far from slot 0, modulo 2^64.
struct RecordPlaces {
    const int32_t* slots;
    int64_t slots_stride;
    uint64_t slot_bytes;
    int64_t first_more;
    uint64_t more;  // further, of slots from first_more on
};

// Who chose which expert of a memory of records: see RoutedMlp. Job j of the product stands for `count` jobs of a row
// each, one for every choice, on the matrix of the record in slot 0.
struct Choices {
    const int32_t* ids;  // [count / top_k, top_k]; null: jobs are what they say
    int64_t ids_stride;
    int32_t top_k, count;
    RecordPlaces places;
    bool row_per_choice;  // of x
};

struct Product {
    static constexpr int kMostJobs = 23;  // a kernel's parameters take 4 KB

    DeviceWeight weight;  // what the jobs share
    int64_t x_stride, out_stride;
    bool accumulate;
    bool full_precision;
    ActivationKind activation;
    float alpha, limit, up_offset;
    // More than one: job 0 is applied so many times, each to the next `weight_rows` rows of the weight that start
    // `weight_step` after the last ones, and that many columns further in x and out.
    int32_t batch;
    int64_t weight_step, x_step, out_step;
    int32_t most_rows;  // of a job
    int32_t outputs_of_warp;
    int32_t job_count;
    const Job* table;  // in place of `jobs`, in the device's memory; null: `jobs`
    Choices choices;
    Job jobs[kMostJobs];
};

// Which rows of a weight: ids[i], or `together` of every `step`, from 0 on.
struct RowChoice {
    const int32_t* ids = nullptr;
    int64_t id_stride = 1;
    int64_t together = 1, step = 1;
    int64_t count = 0;
};

// W_K^T q of every head of latent attention: of each head `nope` rows of the weight, `weight_head` apart, times as many
// numbers of the query.
struct Folding {
    DeviceWeight weight;
    const float* query;
    float* out;
    int64_t query_stride, query_head, out_stride, weight_head;
    int32_t rows, heads, nope;
};

// What a codec has on the device.
struct DeviceCodec {
    // out = x . weight^T + bias for every job; weight.rows outputs. F32 throughout, for few rows.
    void (*multiply)(Device& device, Product product);
    // Weights of `count` jobs from `first` on, or of so many parts of a batch, as BF16: rows of whole chunks
    // (matrix.h) one after the other. Null: a format that BF16 would lose digits of, which tensor cores do not take.
    void (*round_weights)(Device& device, const Product& product, int first, int count, uint16_t* out);
    // Rows to floats, one after the other. Nothing but NaN for an id that the weight lacks.
    void (*decode_rows)(Device& device, const DeviceWeight& weight, const RowChoice& choice, float* out,
                        int64_t out_stride);
    // Of few rows, in F32. Null: by way of decode_rows.
    void (*fold)(Device& device, const Folding& fold) = nullptr;
};

// The row of the table for a format.
const DeviceCodec& device_codec(const WeightFormat& format);

}  // namespace sluice::cuda
