// Latent attention of a prompt's rows in its expanded form: keys and values of all tokens are made of their latents,
// some heads at a time, and attended to like those of grouped attention. Per query and token that is a third of what
// the folded form multiplies.

#include <algorithm>

#include "backend/cuda/attention.h"
#include "backend/cuda/latent_expanded.h"
#include "backend/cuda/matrix_hopper.h"
#include "backend/cuda/products.h"
#include "backend/kv_layout.h"

namespace sluice::cuda {

namespace {

constexpr int64_t kBoxTokens = 16;  // pages are whole boxes of the copy engine
constexpr uint64_t kAlignment = 256;

uint64_t aligned(uint64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Of a head, in nanoseconds as measured on an H200: a token's keys and values are made in 2.2; saved are 11 of a row,
// whose query is not folded, and 0.0033 of every token that it sees.
bool wins(int64_t rows, int64_t tokens) {
    const auto seen = static_cast<double>(tokens) - static_cast<double>(rows) / 2;
    return rows > 64 && 2.2 * static_cast<double>(tokens) < static_cast<double>(rows) * (11 + 0.0033 * seen);
}

// Where everything lies in the operation's scratch.
struct Plan {
    int64_t tokens, heads;                                // of one turn
    uint64_t latents, expanded, keys, values, page, end;  // bytes
};

Plan plan_of(const LatentAttention& op, int64_t heads) {
    Plan plan{.tokens = (op.sequences.most_tokens + kBoxTokens - 1) / kBoxTokens * kBoxTokens, .heads = heads};
    const auto tokens = static_cast<uint64_t>(plan.tokens), all = tokens * static_cast<uint64_t>(heads);
    const uint64_t begin = aligned(op.scratch.offset);
    plan.latents = begin;
    plan.expanded = aligned(plan.latents + tokens * static_cast<uint64_t>(op.kv_lora()) * sizeof(float));
    plan.keys = aligned(plan.expanded + all * static_cast<uint64_t>(op.nope + op.value) * sizeof(float));
    plan.values = aligned(plan.keys + all * static_cast<uint64_t>(op.nope + op.rope) * sizeof(uint16_t));
    plan.page = aligned(plan.values + all * static_cast<uint64_t>(op.value) * sizeof(uint16_t));
    plan.end = plan.page + sizeof(int32_t);
    return plan;
}

// As many heads as there is room for; none: 0.
int64_t heads_at_once(const LatentAttention& op) {
    const auto room = static_cast<uint64_t>(op.scratch.rows * op.scratch.columns) * sizeof(float);
    int64_t heads = op.heads;
    while (heads > 0 && plan_of(op, heads).end > op.scratch.offset + room) {
        heads = heads > 8 ? heads - heads / 8 : heads - 1;
    }
    return heads;
}

struct PackArgs {
    AttendArgs cache;  // key_a: latents, key_b: what is rotated
    float* latents;
    const float* expanded;  // [tokens, heads, nope + value]
    uint16_t *keys, *values;
    int32_t* page;
    int tokens, heads, nope, rope, value;
};

// A block per token: its latent as floats; behind the sequence's end zeros.
__global__ void __launch_bounds__(128) gather_latents_kernel(const __grid_constant__ PackArgs args) {
    const int token = static_cast<int>(blockIdx.x), width = args.cache.key_a.width;
    const SequencePart part = args.cache.sequences.at(0);
    const bool there = token < part.position + part.count;
    const uint8_t* const row = there ? row_at(args.cache, args.cache.key_a, 0, 0, token) : nullptr;
    float* const to = args.latents + static_cast<int64_t>(token) * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        to[i] = there ? number_at(args.cache.cache.format, row, i) : 0.0f;
    }
    if (token == 0 && threadIdx.x == 0) *args.page = 0;
}

// A warp per token and head: keys with what is rotated behind them, and values, as BF16.
__global__ void __launch_bounds__(128) pack_heads_kernel(const __grid_constant__ PackArgs args) {
    const int64_t index = static_cast<int64_t>(blockIdx.x) * 4 + threadIdx.x / 32;
    const int token = static_cast<int>(index / args.heads), head = static_cast<int>(index % args.heads);
    const int lane = threadIdx.x % 32, key = args.nope + args.rope;
    const SequencePart part = args.cache.sequences.at(0);
    if (token >= args.tokens) return;
    const float* const from = args.expanded + index * (args.nope + args.value);
    const int64_t place = static_cast<int64_t>(head) * args.tokens + token;
    auto* const keys = reinterpret_cast<uint32_t*>(args.keys + place * key);
    auto* const values = reinterpret_cast<uint32_t*>(args.values + place * args.value);
    for (int i = 2 * lane; i < args.nope; i += 64) keys[i / 2] = rounded_pair(from[i], from[i + 1]);
    for (int i = 2 * lane; i < args.value; i += 64) {
        values[i / 2] = rounded_pair(from[args.nope + i], from[args.nope + i + 1]);
    }
    const bool there = token < part.position + part.count;
    const uint8_t* const rotated = there ? row_at(args.cache, args.cache.key_b, 0, 0, token) : nullptr;
    for (int i = 2 * lane; i < args.rope; i += 64) {
        const KvFormat format = args.cache.cache.format;
        const float low = there ? number_at(format, rotated, i) : 0.0f;
        const float high = there ? number_at(format, rotated, i + 1) : 0.0f;
        keys[(args.nope + i) / 2] = rounded_pair(low, high);
    }
}

Tensor floats_in(const LatentAttention& op, uint64_t at, int64_t rows, int64_t columns) {
    return make_tensor(op.scratch.buffer, DType::kF32, rows, columns, at);
}

// Keys and values of `count` heads from `first` on.
void expand(Device& device, const LatentAttention& op, const Plan& plan, int64_t first, int64_t count) {
    const int64_t head_rows = op.nope + op.value;
    const Weight weight = op.key.rows_at(first * head_rows, count * head_rows);
    const Tensor x = floats_in(op, plan.latents, plan.tokens, op.kv_lora());
    const Tensor out = floats_in(op, plan.expanded, plan.tokens, count * head_rows);
    Product product = product_of(device, weight);
    product.x_stride = x.row_stride;
    product.out_stride = out.row_stride;
    add_job(product, job_of(weight, x, out));
    run(device, weight.format, product, true);
}

// Attention over them, whose one page is what was packed.
AttendArgs over_expanded(const LatentAttention& op, const PackArgs& packed, int64_t first, int64_t count) {
    const auto tokens = static_cast<int64_t>(packed.tokens);
    const auto places = static_cast<uint64_t>(tokens * count) * sizeof(uint16_t);
    const int64_t key = 2 * (op.nope + op.rope), value = 2 * op.value;  // bytes
    AttendArgs args{};
    args.query_a = rows_of(op.query.columns_at(first * (op.nope + op.rope), count * (op.nope + op.rope)));
    args.query_a_head = op.nope + op.rope;
    const auto* const pool = reinterpret_cast<const uint8_t*>(packed.keys);
    const auto values_at = reinterpret_cast<const uint8_t*>(packed.values) - pool;
    args.cache.pool = pool;
    args.cache.page_bytes = static_cast<uint64_t>(values_at) + places * static_cast<uint64_t>(op.value);
    args.cache.pool_bytes = args.cache.page_bytes = (args.cache.page_bytes + 15) / 16 * 16;
    args.cache.pages = {packed.page, 1};
    args.cache.page_tokens = packed.tokens;
    args.cache.format = KvFormat::kBF16;
    args.key_a = {
        .width = static_cast<int32_t>(op.nope + op.rope), .first = 0, .head_bytes = tokens * key, .token_bytes = key};
    args.value = {.width = static_cast<int32_t>(op.value),
                  .first = values_at,
                  .head_bytes = tokens * value,
                  .token_bytes = value};
    args.sequences = table_of(op.sequences);
    args.rows = static_cast<int>(op.query.rows);
    args.heads = args.key_heads = static_cast<int>(count);
    args.scale = op.scale;
    args.out = writable_rows_of(op.out.columns_at(first * op.value, count * op.value));
    return args;
}

bool takes(const Device& device, const LatentAttention& op) {
    const bool wide = op.nope + op.rope == 192 && op.value == 128, equal = op.nope + op.rope == 256 && op.value == 256;
    return !device.exact() && has_warpgroups() && op.transposed && op.rope > 0 && (wide || equal) && op.nope % 2 == 0 &&
           op.selected.buffer == nullptr && op.sequences.rows.rows == 1 &&
           wins(op.query.rows, op.sequences.most_tokens) && on_tensor_cores(device, op.key.format, op.query.rows) &&
           op.scratch.row_stride == op.scratch.columns;
}

}  // namespace

bool attend_expanded(Device& device, const LatentAttention& op, const AttendArgs& cache) {
    const int64_t heads = takes(device, op) ? heads_at_once(op) : 0;
    if (heads == 0) return false;
    const Plan plan = plan_of(op, heads);
    std::byte* const scratch = device_bytes(op.scratch.buffer);
    PackArgs pack{.cache = cache,
                  .latents = reinterpret_cast<float*>(scratch + plan.latents),
                  .expanded = reinterpret_cast<float*>(scratch + plan.expanded),
                  .keys = reinterpret_cast<uint16_t*>(scratch + plan.keys),
                  .values = reinterpret_cast<uint16_t*>(scratch + plan.values),
                  .page = reinterpret_cast<int32_t*>(scratch + plan.page),
                  .tokens = static_cast<int>(plan.tokens),
                  .heads = 0,
                  .nope = static_cast<int>(op.nope),
                  .rope = static_cast<int>(op.rope),
                  .value = static_cast<int>(op.value)};
    gather_latents_kernel<<<static_cast<unsigned>(plan.tokens), 128, 0, device.stream()>>>(pack);
    check_launch(op.kName);
    for (int64_t first = 0; first < op.heads; first += heads) {
        const int64_t count = std::min(heads, op.heads - first);
        pack.heads = static_cast<int>(count);
        expand(device, op, plan, first, count);
        pack_heads_kernel<<<blocks_for(plan.tokens * count, 4), 128, 0, device.stream()>>>(pack);
        check_launch(op.kName);
        attend(device, over_expanded(op, pack, first, count), op.sequences);
    }
    return true;
}

}  // namespace sluice::cuda
