#include "bench/kernel_bench/attention_variants.h"

#include <cstdio>

#include "backend/cuda/attention_prefill.cuh"
#include "backend/cuda/memory.h"

namespace sluice::bench {

namespace {

using Tile = cuda::PrefillTile<256, 80, 2>;

struct Form {
    const char* name;
    int fold_bits;
    void (*launch)(cudaStream_t, int, const cuda::PrefillArgs&);
    const void* kernel;
};

template <int kLeftOut>
constexpr Form form(const char* name, int fold_bits) {
    return {name, fold_bits, cuda::launch_prefill<Tile, kLeftOut>,
            reinterpret_cast<const void*>(cuda::prefill_kernel<Tile, kLeftOut>)};
}

std::string described(const Form& form) {
    cudaFuncAttributes attributes{};
    cuda::check(cudaFuncGetAttributes(&attributes, form.kernel), "asking for a kernel's registers");
    cuda::check(cudaFuncSetAttribute(form.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes),
                "shared memory of attention");
    int blocks = 0;
    cuda::check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, form.kernel, Tile::kThreads, Tile::kSharedBytes),
                "asking for a kernel's blocks");
    return std::string(form.name) + ", " + std::to_string(attributes.numRegs) + " registers, " +
           std::to_string(blocks) + " of " + std::to_string(Tile::kThreads) + " threads";
}

}  // namespace

std::vector<AttentionVariant> attention_variants(Backend& backend, const Attention& op) {
    using enum cuda::AttentionPart;
    const Form forms[] = {form<0>("1 head a tile", 0),
                          form<0>("2 heads a tile", 1),
                          form<0>("4 heads a tile", 2),
                          form<0>("8 heads a tile", 3),
                          form<kScores>("8 heads, without scores", 3),
                          form<kSoftmax>("8 heads, without softmax", 3),
                          form<kValueSums>("8 heads, without sums of values", 3),
                          form<kStaging>("8 heads, without staging", 3),
                          form<kScores | kSoftmax | kValueSums | kStaging>("8 heads, without all", 3)};
    if (!backend.name().starts_with("cuda")) return {};
    const auto device = std::make_shared<cuda::Device>(0, false);
    std::vector<AttentionVariant> variants;
    for (const Form& form : forms) {
        const cuda::AttendArgs args = cuda::arguments_of(op);
        const bool fits = args.one_width() && args.value.width == Tile::kHead && cuda::can_be_boxed(args) &&
                          args.heads / args.key_heads % (1 << form.fold_bits) == 0;
        if (!fits || !cuda::compiled_for_card(form.kernel)) {
            std::fprintf(stderr, "attention, %s: not for these heads, this cache or this card\n", form.name);
            continue;
        }
        const cuda::PrefillArgs tiles = cuda::tiles_of(args, form.fold_bits, Tile::kRows);
        variants.push_back({described(form), [&backend, device, op, tiles, launch = form.launch] {
                                launch(device->stream(), device->multiprocessors(), tiles);
                                backend.after(std::make_shared<cuda::QueueEvent>(device, device->stream()));
                            }});
    }
    return variants;
}

}  // namespace sluice::bench
