#include "backend/cuda/attention_decode.cuh"

#include "backend/cuda/joined.h"

namespace sluice::cuda {

namespace {

constexpr int kStages = 2;

// The ring takes less than 99 KB, which any card has and two blocks fit a multiprocessor of the large ones.
template <KvFormat kFormat, int kHead>
constexpr int kWarpsOf = kFormat == KvFormat::kBF16&& kHead == 256 ? 3 : 4;

template <KvFormat kFormat, int kHead>
void run(Device& device, AttendArgs& attend, const Rows<const float>& gate, const Sequences& sequences) {
    DecodeArgs args{.attend = attend,
                    .most_pieces = kMostDecodePieces,
                    .least_piece = kWarpsOf<kFormat, kHead> * kDecodeTokens,  // a turn of a block's warps
                    .vector_parts = 0,
                    .gate = gate};
    args.attend.split_rows = static_cast<int>(std::min<int64_t>(sequences.most_rows, kFewRows));
    const int vectors = args.attend.split_rows * (attend.heads / attend.key_heads);
    args.vector_parts = (vectors + kDecodeVectors - 1) / kDecodeVectors;
    args.attend.splits = plan_pieces(args, sequences.most_tokens);
    const int64_t partials =
        static_cast<int64_t>(attend.sequences.count) * args.attend.split_rows * attend.heads * args.attend.splits;
    args.attend.partial = reinterpret_cast<float*>(
        device.scratch(static_cast<uint64_t>(partials * attend.partial_width()) * sizeof(float)));
    launch_decode<kFormat, kHead, kWarpsOf<kFormat, kHead>, kStages>(device, args);
}

template <KvFormat kFormat>
bool run_format(Device& device, AttendArgs& args, const Rows<const float>& gate, const Sequences& sequences) {
    const auto places = static_cast<uint64_t>(args.key_a.first | args.key_a.head_bytes | args.key_a.token_bytes |
                                              args.value.first | args.value.head_bytes | args.value.token_bytes) |
                        args.cache.page_bytes | reinterpret_cast<uint64_t>(args.cache.pool);
    if (places % DecodeRows<kFormat, 64>::kAlignment != 0) return false;
    switch (args.value.width) {
        case 64:
            run<kFormat, 64>(device, args, gate, sequences);
            return true;
        case 128:
            run<kFormat, 128>(device, args, gate, sequences);
            return true;
        case 256:
            run<kFormat, 256>(device, args, gate, sequences);
            return true;
        default:
            return false;
    }
}

bool decode_gated(Device& device, AttendArgs args, const Rows<const float>& gate, const Sequences& sequences) {
    if (device.exact() || !args.one_width()) return false;
    if (args.cache.format == KvFormat::kBF16) return run_format<KvFormat::kBF16>(device, args, gate, sequences);
    if (args.cache.format == KvFormat::kInt8) return run_format<KvFormat::kInt8>(device, args, gate, sequences);
    return false;
}

}  // namespace

bool decode(Device& device, AttendArgs args, const Sequences& sequences) {
    return decode_gated(device, args, {}, sequences);
}

bool compute_joined(Device& device, const GatedAttention& joined) {
    const Attention& op = *joined.attention;
    const SigmoidGate& gate = *joined.gate;
    if (op.selected.buffer != nullptr || op.sequences.most_rows > kFewRows || gate.silu || op.query.rows == 0)
        return false;
    return decode_gated(device, arguments_of(op), rows_of(gate.gate), op.sequences);
}

}  // namespace sluice::cuda
