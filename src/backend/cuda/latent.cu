// Latent attention in its folded form: q' = W_K^T q, attention over the latents themselves, W_V. Prompts may take the
// expanded one.

#include <algorithm>

#include "backend/cuda/attention.h"
#include "backend/cuda/latent_expanded.h"
#include "backend/cuda/latent_tiles.h"
#include "backend/cuda/products.h"

namespace sluice::cuda {

namespace {

constexpr int kFoldTokens = 8, kFoldThreads = 128, kFoldRows = 64;

struct FoldArgs {
    Rows<const float> query;
    const float* key;  // [heads * nope, rank]
    Rows<float> out;
    int rows, nope, query_dim, rank;
};

// A thread per latent number, for some rows; key rows meet the queries in their order.
__global__ void __launch_bounds__(kFoldThreads) fold_kernel(const FoldArgs args) {
    __shared__ float queries[kFoldTokens][kFoldRows];
    const int c = blockIdx.x * kFoldThreads + threadIdx.x, head = blockIdx.y, first = blockIdx.z * kFoldTokens;
    const int rows = min(kFoldTokens, args.rows - first);
    const float* const key = args.key + static_cast<int64_t>(head) * args.nope * args.rank;
    float sums[kFoldTokens] = {};
    for (int part = 0; part < args.nope; part += kFoldRows) {
        const int here = min(kFoldRows, args.nope - part);
        __syncthreads();
        for (int i = threadIdx.x; i < kFoldTokens * kFoldRows; i += kFoldThreads) {
            const int t = i / kFoldRows, r = i % kFoldRows;
            const bool there = t < rows && r < here;
            queries[t][r] = there ? args.query[first + t][static_cast<int64_t>(head) * args.query_dim + part + r] : 0;
        }
        __syncthreads();
        if (c >= args.rank) continue;
        for (int r = 0; r < here; ++r) {
            const float number = key[static_cast<int64_t>(part + r) * args.rank + c];
#pragma unroll
            for (int t = 0; t < kFoldTokens; ++t) sums[t] = fmaf(number, queries[t][r], sums[t]);
        }
    }
    if (c >= args.rank) return;
#pragma unroll
    for (int t = 0; t < kFoldTokens; ++t) {
        if (t < rows) args.out[first + t][static_cast<int64_t>(head) * args.rank + c] = sums[t];
    }
}

constexpr int64_t kPackedRows = 32;  // of a batch; with more, W_K is decoded once for all

bool fold_from_packed(Device& device, const LatentAttention& op, const Tensor& folded) {
    const auto fold = device_codec(op.key.format).fold;
    if (fold == nullptr || op.query.rows > kPackedRows) return false;
    fold(device, {.weight = device_weight(device, op.key),
                  .query = floats_at(op.query),
                  .out = floats_at(folded),
                  .query_stride = op.query.row_stride,
                  .query_head = op.nope + op.rope,
                  .out_stride = folded.row_stride,
                  .weight_head = op.nope + op.value,
                  .rows = static_cast<int32_t>(op.query.rows),
                  .heads = static_cast<int32_t>(op.heads),
                  .nope = static_cast<int32_t>(op.nope)});
    return true;
}

// By way of the part of kv_b_proj that makes keys, as floats in scratch.
void fold_transposed(Device& device, const LatentAttention& op, const Tensor& folded) {
    if (fold_from_packed(device, op, folded)) return;
    const RowChoice rows{.together = op.nope, .step = op.nope + op.value, .count = op.heads * op.nope};
    const int64_t rank = op.kv_lora();
    auto* const key =
        reinterpret_cast<float*>(device.scratch(static_cast<uint64_t>(rows.count * rank) * sizeof(float)));
    device_codec(op.key.format).decode_rows(device, device_weight(device, op.key), rows, key, rank);
    const FoldArgs args{.query = rows_of(op.query),
                        .key = key,
                        .out = writable_rows_of(folded),
                        .rows = static_cast<int>(op.query.rows),
                        .nope = static_cast<int>(op.nope),
                        .query_dim = static_cast<int>(op.nope + op.rope),
                        .rank = static_cast<int>(rank)};
    const dim3 grid(blocks_for(rank, kFoldThreads), static_cast<unsigned>(op.heads),
                    blocks_for(op.query.rows, kFoldTokens));
    fold_kernel<<<grid, kFoldThreads, 0, device.stream()>>>(args);
    check_launch("folding queries");
}

// out_h = W_h x_h for all heads: of each head `rows` rows of the weight, `step` apart, from `first` on.
struct HeadRows {
    int64_t first, rows, step;
};
void multiply_heads(Device& device, const Weight& weight, const HeadRows& heads, int64_t count, const Tensor& x,
                    int64_t x_step, const Tensor& out) {
    const Weight from = weight.rows_at(heads.first, weight.rows - heads.first);
    Product product = product_of(device, from);
    product.weight.rows = heads.rows;
    product.x_stride = x.row_stride;
    product.out_stride = out.row_stride;
    product.batch = static_cast<int32_t>(count);
    product.weight_step = heads.step;
    product.x_step = x_step;
    product.out_step = heads.rows;
    add_job(product, job_of(from, x, out));
    run(device, weight.format, product, on_tensor_cores(device, weight.format, x.rows));
}

// The cache of latents, one head for all, and who attends to it.
AttendArgs arguments_of(const LatentAttention& op) {
    const int64_t rank = op.kv_lora();
    const LatentKvLayout layout(op.cache.format, op.cache.page_tokens, rank, op.rope);
    const auto token = static_cast<int64_t>(layout.token_bytes);
    AttendArgs args{};
    args.query_a_head = rank;
    args.query_b_head = op.nope + op.rope;
    args.key_a = {.width = static_cast<int32_t>(rank), .first = 0, .head_bytes = 0, .token_bytes = token};
    args.key_b = {.width = static_cast<int32_t>(op.rope),
                  .first = static_cast<int64_t>(layout.latent_bytes),
                  .head_bytes = 0,
                  .token_bytes = token};
    if (op.rope > 0) args.query_b = rows_of(op.query.columns_at(op.nope, op.query.columns - op.nope));
    args.value = args.key_a;
    args.value_is_key_a = true;
    args.cache = pages_of(op.cache);
    args.sequences = table_of(op.sequences);
    args.rows = static_cast<int>(op.query.rows);
    args.heads = static_cast<int>(op.heads);
    args.key_heads = 1;
    args.scale = op.scale;
    list_seen(args, op.selected);
    return args;
}

void attend_folded(Device& device, AttendArgs args, const Sequences& sequences) {
    if (takes_latent_tiles(device, args)) {
        args.partial = reinterpret_cast<float*>(device.scratch(latent_partial_bytes(args, sequences)));
        attend_latent_tiles(device, args, sequences);
    } else {
        args.partial = reinterpret_cast<float*>(device.scratch(plan_splits(args, sequences)));
        attend(device, args, sequences);
    }
}

}  // namespace

void compute(Device& device, const LatentAttention& op) {
    if (op.query.rows == 0) return;
    AttendArgs args = arguments_of(op);
    if (attend_expanded(device, op, args)) return;
    const int64_t rank = op.kv_lora(), width = op.heads * rank;
    const Tensor folded = op.scratch.columns_at(0, width), attended = op.scratch.columns_at(width, width);
    if (op.transposed) {
        fold_transposed(device, op, folded);
    } else {
        multiply_heads(device, op.key, {.first = 0, .rows = rank, .step = rank}, op.heads, op.query, op.nope + op.rope,
                       folded);
    }
    args.query_a = rows_of(folded);
    args.out = writable_rows_of(attended);
    attend_folded(device, args, op.sequences);

    const int64_t nope = op.transposed ? op.nope : 0;
    multiply_heads(device, op.value_weight, {.first = nope, .rows = op.value, .step = nope + op.value}, op.heads,
                   attended, rank, op.out);
}

}  // namespace sluice::cuda
