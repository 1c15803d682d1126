#include "backend/cuda/attention_prefill.cuh"

#include <optional>

#include "backend/cuda/attention_warps.cuh"
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

// The same over a cache in scratch, behind what else is wanted there: numbers as BF16, a page for each sequence.
// Nothing where that takes too much.
std::optional<AttendArgs> rounded(Device& device, const AttendArgs& args, const Sequences& sequences, uint64_t wanted) {
    const int64_t tokens = (sequences.most_tokens + kPrefillBoxRows - 1) / kPrefillBoxRows * kPrefillBoxRows;
    const int64_t key = args.key_a.width * int64_t{2}, value = args.value.width * int64_t{2};  // bytes
    const int64_t keys = args.key_heads * tokens * key, values = args.key_heads * tokens * value;
    const uint64_t page = static_cast<uint64_t>(keys + values), count = args.sequences.count;
    if (page * count > kMostRoundedBytes) return std::nullopt;
    std::byte* const scratch = device.scratch(wanted + page * count + count * sizeof(int32_t)) + wanted;
    AttendArgs to = args;
    to.cache = {.pool = reinterpret_cast<const uint8_t*>(scratch),
                .pool_bytes = page * count,
                .page_bytes = page,
                .pages = {reinterpret_cast<const int32_t*>(scratch + page * count), 1},
                .page_tokens = static_cast<int32_t>(tokens),
                .format = KvFormat::kBF16};
    to.key_a = {.width = args.key_a.width, .first = 0, .head_bytes = tokens * key, .token_bytes = key};
    to.value = {.width = args.value.width, .first = keys, .head_bytes = tokens * value, .token_bytes = value};
    round_kernel<<<dim3(blocks_for(tokens * 2 * args.key_heads, 8), static_cast<unsigned>(count)), 256, 0,
                   device.stream()>>>(args, to);
    check_launch("rounding keys and values");
    return to;
}

// Where tiles are fewer than multiprocessors, their keys are cut. A piece has some tiles of keys.
int pieces_of(const PrefillArgs& args, int most_key_tiles, int multiprocessors) {
    constexpr int kLeastTiles = 4;
    const int pieces = std::min(multiprocessors / (args.row_tiles * args.head_groups), most_key_tiles / kLeastTiles);
    return std::max(pieces, 1);
}

template <typename Tile, typename Launch>
bool run_tiles(Device& device, const AttendArgs& args, const Sequences& sequences, const Launch& launch) {
    PrefillArgs tiles = tiles_of(args, fold_bits_of(args), Tile::kRows);
    tiles.pieces = pieces_of(tiles, static_cast<int>(sequences.most_tokens / Tile::kKeys), device.multiprocessors());
    const auto vectors = static_cast<uint64_t>(args.rows) * static_cast<uint64_t>(args.heads);
    const uint64_t width = static_cast<uint64_t>(args.partial_width()) * sizeof(float);
    const uint64_t wanted = tiles.pieces == 1 ? 0 : (vectors * tiles.pieces * width + 255) / 256 * 256;
    if (!can_be_boxed(args)) {
        const std::optional<AttendArgs> in_scratch = rounded(device, args, sequences, wanted);
        if (!in_scratch) return false;
        tiles.attend = *in_scratch;
    }
    if (wanted > 0) tiles.partial = reinterpret_cast<float*>(device.scratch(wanted));
    launch(tiles);
    return true;
}

template <typename Tile>
bool run_on_warpgroups(Device& device, const AttendArgs& args, const Sequences& sequences) {
    if (!compiled_for_card(reinterpret_cast<const void*>(prefill_kernel<Tile>))) return false;
    return run_tiles<Tile>(device, args, sequences, [&](const PrefillArgs& tiles) {
        launch_prefill<Tile>(device.stream(), device.multiprocessors(), tiles);
    });
}

template <typename Tile, typename WarpTile>
bool run(Device& device, const AttendArgs& args, const Sequences& sequences) {
    if (run_on_warpgroups<Tile>(device, args, sequences)) return true;
    return run_tiles<WarpTile>(device, args, sequences,
                               [&](const PrefillArgs& tiles) { launch_warp_tiles<WarpTile>(device.stream(), tiles); });
}

}  // namespace

bool compiled_for_card(const void* kernel) {
    cudaFuncAttributes attributes{};
    if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess) return attributes.sharedSizeBytes > 0;
    (void)cudaGetLastError();
    return false;
}

bool can_be_boxed(const AttendArgs& args) {
    if (args.cache.format != KvFormat::kBF16 || args.cache.page_tokens % kPrefillBoxRows != 0) return false;
    const auto fits = [&](const CacheRows& rows) {
        const PlanesOfRows numbers = planes_of(args.cache, rows, args.key_heads);
        const uint64_t places = reinterpret_cast<uint64_t>(numbers.first) | numbers.row_bytes | numbers.plane_bytes;
        return numbers.planes > 0 && places % 16 == 0;
    };
    return fits(args.key_a) && fits(args.value);
}

CUtensorMap boxed(const AttendArgs& args, const CacheRows& rows) {
    return tensor_map(planes_of(args.cache, rows, args.key_heads));
}

PrefillArgs tiles_of(const AttendArgs& args, int fold_bits, int tile_rows) {
    const int rows = tile_rows >> fold_bits;
    return {.attend = args,
            .fold_bits = fold_bits,
            .row_tiles = (args.rows + rows - 1) / rows + args.sequences.count - 1,
            .head_groups = args.heads >> fold_bits,
            .aligned = aligned(args.query_a, 16),
            .out_aligned = aligned(args.out, 8),
            .pieces = 1,
            .partial = nullptr};
}

bool prefill(Device& device, const AttendArgs& args, const Sequences& sequences) {
    if (device.exact() || args.scale <= 0) return false;
    // Of latents that were expanded, and of models whose keys are wider.
    if (args.key_b.width == 0 && args.key_a.width == 192 && args.value.width == 128 && !args.value_is_key_a)
        return run_on_warpgroups<PrefillTile<192, 128, 2, 128>>(device, args, sequences);
    if (!args.one_width()) return false;
    switch (args.value.width) {
        case 64:
            return run<PrefillTile<64, 128, 3>, PrefillTile<64, 64, 1>>(device, args, sequences);
        case 128:
            return run<PrefillTile<128, 160, 2>, PrefillTile<128, 64, 1>>(device, args, sequences);
        case 256:
            return run<PrefillTile<256, 80, 2>, PrefillTile<256, 32, 1>>(device, args, sequences);
        default:
            return false;
    }
}

}  // namespace sluice::cuda
