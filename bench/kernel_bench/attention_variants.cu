#include "bench/kernel_bench/attention_variants.h"

#include <cstdio>

#include "backend/cuda/attention_prefill.cuh"
#include "backend/cuda/attention_warps.cuh"
#include "backend/cuda/memory.h"

namespace sluice::bench {

namespace {

using Tile = cuda::PrefillTile<256, 80, 2>;
using WarpTile = cuda::PrefillTile<256, 32, 1>;  // of cards before Hopper

struct Form {
    std::string name;
    std::string_view left_out;
    bool of_hopper;
    int fold_bits, tile_rows, threads, shared_bytes;
    void (*launch)(cudaStream_t, int, const cuda::PrefillArgs&);
    const void* kernel;
};

template <int kLeftOut>
Form form(std::string name, int fold_bits, std::string_view left_out = {}) {
    return {std::move(name),
            left_out,
            true,
            fold_bits,
            Tile::kRows,
            Tile::kThreads,
            Tile::kSharedBytes,
            cuda::launch_prefill<Tile, kLeftOut>,
            reinterpret_cast<const void*>(cuda::prefill_kernel<Tile, kLeftOut>)};
}

template <int kLeftOut>
Form without(const char* part) {
    return form<kLeftOut>(std::string("8 heads, without ") + part, 3, part);
}

void launch_warps(cudaStream_t stream, int, const cuda::PrefillArgs& args) {
    cuda::launch_warp_tiles<WarpTile>(stream, args);
}

std::vector<Form> forms() {
    using enum cuda::AttentionPart;
    return {{"products of a warp, 8 heads a tile",
             {},
             false,
             3,
             WarpTile::kRows,
             cuda::kWarpTileThreads,
             WarpTile::kBytes,
             launch_warps,
             reinterpret_cast<const void*>(cuda::warp_tiles_kernel<WarpTile>)},
            form<0>("1 head a tile", 0),
            form<0>("2 heads a tile", 1),
            form<0>("4 heads a tile", 2),
            form<0>("8 heads a tile", 3, AttentionVariant::kWhole),
            without<kScores>("scores"),
            without<kSoftmax>("softmax"),
            without<kValueSums>("sums of values"),
            without<kStaging>("staging"),
            without<kScores | kSoftmax | kValueSums | kStaging>("all")};
}

std::string described(const Form& form) {
    cudaFuncAttributes attributes{};
    cuda::check(cudaFuncGetAttributes(&attributes, form.kernel), "asking for a kernel's registers");
    cuda::check(cudaFuncSetAttribute(form.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, form.shared_bytes),
                "shared memory of attention");
    int blocks = 0;
    cuda::check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, form.kernel, form.threads, form.shared_bytes),
                "asking for a kernel's blocks");
    return form.name + ", " + std::to_string(attributes.numRegs) + " registers, " + std::to_string(blocks) + " of " +
           std::to_string(form.threads) + " threads";
}

// What runs on another queue than the backend's, which waits for it.
template <typename Launch>
std::function<void()> awaited(Backend& backend, std::shared_ptr<cuda::Device> device, Launch launch) {
    return [&backend, device, launch] {
        launch(*device);
        backend.after(std::make_shared<cuda::QueueEvent>(device, device->stream()));
    };
}

}  // namespace

std::vector<AttentionVariant> attention_variants(Backend& backend, const Attention& op) {
    if (!backend.name().starts_with("cuda")) return {};
    const auto device = std::make_shared<cuda::Device>(0, false), exact = std::make_shared<cuda::Device>(0, true);
    const cuda::AttendArgs args = cuda::arguments_of(op);
    std::vector<AttentionVariant> variants{
        {"F32", {}, awaited(backend, exact, [op, args](cuda::Device& on) { cuda::attend(on, args, op.sequences); })}};
    for (const Form& form : forms()) {
        const bool fits = args.one_width() && args.value.width == Tile::kHead && cuda::can_be_boxed(args) &&
                          args.heads / args.key_heads % (1 << form.fold_bits) == 0;
        if (!fits || (form.of_hopper && !cuda::compiled_for_card(form.kernel))) {
            std::fprintf(stderr, "attention, %s: not for these heads, this cache or this card\n", form.name.c_str());
            continue;
        }
        const cuda::PrefillArgs tiles = cuda::tiles_of(args, form.fold_bits, form.tile_rows);
        variants.push_back({described(form), form.left_out,
                            awaited(backend, device, [op, tiles, launch = form.launch](cuda::Device& on) {
                                launch(on.stream(), on.multiprocessors(), tiles);
                            })});
    }
    return variants;
}

}  // namespace sluice::bench
