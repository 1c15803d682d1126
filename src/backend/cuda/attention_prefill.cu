#include "backend/cuda/attention_prefill.cuh"

#include "backend/cuda/tensor_map.h"

namespace sluice::cuda {

namespace {

constexpr int kMostFoldBits = 3;
constexpr uint64_t kMostRoundedBytes = uint64_t{256} << 20;  // of scratch

// How one kind of rows of the cache lies, to the copy engine; its planes are pages.
PlanesOfRows planes_of(const CachePages& cache, const CacheRows& rows, int key_heads) {
    const auto used = static_cast<uint64_t>(rows.first + key_heads * rows.head_bytes);
    const uint64_t pages = cache.pool_bytes < used ? 0 : (cache.pool_bytes - used) / cache.page_bytes + 1;
    return {.first = cache.pool + rows.first,
            .width = rows.width,
            .rows = static_cast<int64_t>(key_heads) * cache.page_tokens,
            .planes = static_cast<int64_t>(pages),
            .row_bytes = static_cast<uint64_t>(rows.token_bytes),
            .plane_bytes = cache.page_bytes,
            .box_rows = kPrefillBoxRows};
}

bool can_be_boxed(const PlanesOfRows& numbers) {
    const uint64_t places = reinterpret_cast<uint64_t>(numbers.first) | numbers.row_bytes | numbers.plane_bytes;
    return numbers.planes > 0 && places % 16 == 0;
}

template <typename Element>
bool aligned(const Rows<Element>& rows, int64_t bytes) {
    const auto stride = rows.stride * static_cast<int64_t>(sizeof(float));
    return (reinterpret_cast<int64_t>(rows.first) | stride) % bytes == 0;
}

// Heads of a key head in one tile: the fewer tokens it has, the fewer keys are brought that some of them do not see.
int fold_bits_of(const AttendArgs& args) {
    int bits = 0;
    while (bits < kMostFoldBits && args.heads / args.key_heads % (2 << bits) == 0) ++bits;
    return bits;
}

// A warp per row of a token, keys of all heads and then values; what no new row sees is left out.
__global__ void round_kernel(const AttendArgs from, const AttendArgs to) {
    const SequencePart part = from.sequences.at(blockIdx.y);
    const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (warp == 0 && lane == 0) const_cast<int32_t*>(to.cache.pages[part.sequence])[0] = part.sequence;
    const int rows = 2 * from.key_heads, token = warp / rows, head = warp % rows / 2;
    if (part.count <= kFewRows || token >= part.position + part.count) return;
    if (token < from.first_seen(part.position + 1) / kPrefillBoxRows * kPrefillBoxRows) return;
    const bool is_key = warp % 2 == 0;
    const CacheRows& old_rows = is_key ? from.key_a : from.value;
    const CacheRows& new_rows = is_key ? to.key_a : to.value;
    const uint8_t* const row = row_at(from, old_rows, part.sequence, head, token);
    auto* const out = const_cast<uint8_t*>(to.cache.pool) + part.sequence * static_cast<int64_t>(to.cache.page_bytes) +
                      new_rows.first + head * new_rows.head_bytes + token * new_rows.token_bytes;
    for (int i = 2 * lane; i < old_rows.width; i += 64) {
        reinterpret_cast<uint32_t*>(out)[i / 2] =
            rounded_pair(number_at(from.cache.format, row, i), number_at(from.cache.format, row, i + 1));
    }
}

// The same over a cache in scratch: numbers as BF16, a page for each sequence. Nothing where that takes too much.
std::optional<AttendArgs> rounded(Device& device, const AttendArgs& args, const Sequences& sequences) {
    const int64_t tokens = (sequences.most_tokens + kPrefillBoxRows - 1) / kPrefillBoxRows * kPrefillBoxRows;
    const int64_t row = args.value.width * int64_t{2}, head = tokens * row;
    const uint64_t page = 2 * static_cast<uint64_t>(args.key_heads * head), count = args.sequences.count;
    if (page * count > kMostRoundedBytes) return std::nullopt;
    std::byte* const scratch = device.scratch(page * count + count * sizeof(int32_t));
    AttendArgs to = args;
    to.cache = {.pool = reinterpret_cast<const uint8_t*>(scratch),
                .pool_bytes = page * count,
                .page_bytes = page,
                .pages = {reinterpret_cast<const int32_t*>(scratch + page * count), 1},
                .page_tokens = static_cast<int32_t>(tokens),
                .format = KvFormat::kBF16};
    to.key_a = {.width = args.key_a.width, .first = 0, .head_bytes = head, .token_bytes = row};
    to.value = {.width = args.value.width, .first = args.key_heads * head, .head_bytes = head, .token_bytes = row};
    round_kernel<<<dim3(blocks_for(tokens * 2 * args.key_heads, 8), static_cast<unsigned>(count)), 256, 0,
                   device.stream()>>>(args, to);
    check_launch("rounding keys and values");
    return to;
}

template <typename Tile>
bool run(Device& device, const AttendArgs& args, const Sequences& sequences) {
    if (!compiled_for_card(reinterpret_cast<const void*>(prefill_kernel<Tile>))) return false;
    auto plan = plan_prefill(args, fold_bits_of(args), Tile::kRows);
    if (!plan) {
        const std::optional<AttendArgs> in_scratch = rounded(device, args, sequences);
        if (in_scratch) plan = plan_prefill(*in_scratch, fold_bits_of(args), Tile::kRows);
    }
    if (plan) launch_prefill<Tile>(device.stream(), device.multiprocessors(), *plan);
    return plan.has_value();
}

}  // namespace

bool compiled_for_card(const void* kernel) {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess) return attributes.sharedSizeBytes > 0;
    (void)cudaGetLastError();
    return false;
}

std::optional<PrefillPlan> plan_prefill(const AttendArgs& args, int fold_bits, int tile_rows) {
    const PlanesOfRows keys = planes_of(args.cache, args.key_a, args.key_heads);
    const PlanesOfRows values = planes_of(args.cache, args.value, args.key_heads);
    if (!args.one_width() || args.cache.format != KvFormat::kBF16 || args.cache.page_tokens % kPrefillBoxRows != 0 ||
        !can_be_boxed(keys) || !can_be_boxed(values))
        return std::nullopt;
    const int rows = tile_rows >> fold_bits;
    return PrefillPlan{.args = {.attend = args,
                                .fold_bits = fold_bits,
                                .row_tiles = (args.rows + rows - 1) / rows + args.sequences.count - 1,
                                .head_groups = args.heads >> fold_bits,
                                .no_page = static_cast<int>(std::max(keys.planes, values.planes)),
                                .aligned = aligned(args.query_a, 16),
                                .out_aligned = aligned(args.out, 8)},
                       .key_map = tensor_map(keys),
                       .value_map = tensor_map(values)};
}

bool prefill(Device& device, const AttendArgs& args, const Sequences& sequences) {
    if (device.exact() || !args.one_width() || args.scale <= 0) return false;
    switch (args.value.width) {
        case 64:
            return run<PrefillTile<64, 128, 3>>(device, args, sequences);
        case 128:
            return run<PrefillTile<128, 160, 2>>(device, args, sequences);
        case 256:
            return run<PrefillTile<256, 80, 2>>(device, args, sequences);
        default:
            return false;
    }
}

}  // namespace sluice::cuda
