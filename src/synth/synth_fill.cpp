#include "synth/synth_fill.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "tensor/codecs.h"
#include "tensor/float_types.h"

namespace sluice {

namespace {

constexpr uint64_t kChunkBytes = 1 << 20;
constexpr int kFp8Block = 128;

// xoshiro256** (Blackman, Vigna): eight random bytes in under a nanosecond.
class Random {
  public:
    explicit Random(uint64_t seed) {
        for (uint64_t& word : state_) {
            // splitmix64 spreads the seed over the state.
            uint64_t z = (seed += 0x9e3779b97f4a7c15);
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
            word = z ^ (z >> 31);
        }
    }

    uint64_t next() {
        const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    void bytes(std::span<std::byte> out) {
        size_t i = 0;
        for (; i + 8 <= out.size(); i += 8) store_unaligned(out.data() + i, next());
        for (uint64_t word = next(); i < out.size(); ++i, word >>= 8) out[i] = static_cast<std::byte>(word);
    }

  private:
    std::array<uint64_t, 4> state_{};
};

// The standard normal distribution's quantiles at the middles of 256 equal parts.
std::array<float, 256> make_normals() {
    std::array<float, 256> normals{};
    for (size_t i = 0; i < normals.size(); ++i) {
        const double probability = (static_cast<double>(i) + 0.5) / 256;
        double low = -4, high = 4;
        for (int step = 0; step < 40; ++step) {
            const double middle = (low + high) / 2;
            (std::erfc(-middle / std::sqrt(2.0)) / 2 < probability ? low : high) = middle;
        }
        normals[i] = static_cast<float>(low);
    }
    return normals;
}

const std::array<float, 256>& normals() {
    static const std::array<float, 256> table = make_normals();
    return table;
}

// Scale of the random levels of a group: what a uniform q of that many bits needs for the deviation.
float level_scale(const SynthTensor& tensor, int bits) {
    const double levels = std::exp2(bits);
    return static_cast<float>(tensor.deviation / std::sqrt((levels * levels - 1) / 12));
}

// FP8 codes are normal values times this, one scale undoes it: far from 448 and from the subnormals.
constexpr float kFp8Spread = 64;

void fill_values(const SynthStored& stored, std::byte* out) {
    for (const float value : stored.tensor->values) {
        if (stored.tensor->dtype == DType::kF32) {
            store_unaligned(out, value);
            out += 4;
        } else if (stored.tensor->dtype == DType::kI32) {
            store_unaligned(out, static_cast<int32_t>(value));
            out += 4;
        } else {
            store_unaligned(out, float_to_bf16(value));
            out += 2;
        }
    }
}

// Scales or zero points of affine rows. Both draw the same factors: scale = +-deviation of the group, zero point =
// minus the middle level times it. In lead columns that are not random the scale is 0 and the zero point is the value.
void fill_affine_grid(const SynthStored& stored, Random& random, int64_t first, int64_t count, std::byte* out) {
    const SynthTensor& tensor = *stored.tensor;
    const int bits = stored.format.bits;
    const float base = level_scale(tensor, bits);
    const float middle = static_cast<float>((1 << bits) - 1) / 2;
    const auto groups = static_cast<int64_t>(stored.row_bytes / dtype_bytes(stored.format.dtype));
    std::array<uint16_t, 256> table{};
    for (size_t i = 0; i < table.size(); ++i) {
        const float sign = (i & 1) == 0 ? 1.0f : -1.0f;
        // Rounded first, so that the two parts fit each other.
        const float scale = bf16_to_float(float_to_bf16(sign * base * (0.75f + static_cast<float>(i) / 512)));
        table[i] = float_to_bf16(stored.part == SynthPart::kScales ? scale : -middle * scale);
    }
    std::vector<std::byte> factors(static_cast<size_t>(groups));
    for (int64_t row = first; row < first + count; ++row) {
        random.bytes(factors);
        for (int64_t group = 0; group < groups; ++group) {
            uint16_t value = table[static_cast<size_t>(factors[static_cast<size_t>(group)])];
            if (group == 0 && !tensor.lead.random) {
                value = stored.part == SynthPart::kScales ? 0 : float_to_bf16(tensor.lead.value(row));
            }
            store_unaligned(out, value);
            out += sizeof value;
        }
    }
}

// Rows of elements that each come from one random byte through a table.
template <typename Element, typename Encode>
void fill_elements(const SynthStored& stored, Random& random, int64_t first, int64_t count, std::byte* out,
                   Encode encode) {
    const SynthTensor& tensor = *stored.tensor;
    std::array<Element, 256> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = encode(normals()[i] * tensor.deviation);
    const int64_t columns = tensor.columns();
    std::vector<std::byte> draws(static_cast<size_t>(columns));
    for (int64_t row = first; row < first + count; ++row) {
        random.bytes(draws);
        int64_t column = 0;
        if (!tensor.lead.random) {
            const Element lead = encode(tensor.lead.value(row));
            for (; column < std::min(kLeadColumns, columns); ++column, out += sizeof lead) store_unaligned(out, lead);
        }
        for (; column < columns; ++column, out += sizeof(Element)) {
            store_unaligned(out, table[static_cast<size_t>(draws[static_cast<size_t>(column)])]);
        }
    }
}

void fill_data(const SynthStored& stored, Random& random, int64_t first, int64_t count, std::span<std::byte> out) {
    if (stored.format.codec == &kAffineCodec) return random.bytes(out);
    if (stored.format.codec == &kFp8BlockCodec) {
        const float scale = kFp8Spread / stored.tensor->deviation;
        return fill_elements<uint8_t>(stored, random, first, count, out.data(),
                                      [scale](float value) { return float_to_e4m3(value * scale); });
    }
    fill_elements<uint16_t>(stored, random, first, count, out.data(), float_to_bf16);
}

WeightFormat format_of(const SynthTensor& tensor, SynthEncoding encoding) {
    if (tensor.keep_float) return WeightFormat::floating(DType::kBF16);
    const bool affine = encoding == SynthEncoding::kAffine4 || encoding == SynthEncoding::kAffine8;
    if (affine && tensor.columns() % kSynthGroup == 0) {
        const bool four_bits = encoding == SynthEncoding::kAffine4 && !tensor.eight_bits;
        return WeightFormat::affine(four_bits ? 4 : 8, kSynthGroup, DType::kBF16);
    }
    // DeepSeek keeps embedding and head in BF16.
    const bool outer = tensor.name.ends_with("embed_tokens") || tensor.name.ends_with("lm_head");
    if (encoding == SynthEncoding::kFp8 && !outer) return WeightFormat::fp8_block(kFp8Block, kFp8Block);
    return WeightFormat::floating(DType::kBF16);
}

}  // namespace

std::vector<SynthStored> stored_tensors(const SynthTensor& tensor, SynthEncoding encoding) {
    if (tensor.is_vector()) {
        const uint64_t bytes = tensor.values.size() * dtype_bytes(tensor.dtype);
        return {{{tensor.name, tensor.dtype, tensor.shape}, &tensor, SynthPart::kValues, {}, 1, bytes}};
    }
    const WeightFormat format = format_of(tensor, encoding);
    const int64_t columns = tensor.columns(), rows = tensor.rows();
    std::vector<SynthStored> parts;
    const auto add = [&](const std::string& suffix, DType dtype, SynthPart part, int64_t part_rows,
                         uint64_t row_bytes) {
        std::vector<int64_t> shape = tensor.shape;
        shape.back() = static_cast<int64_t>(row_bytes / dtype_bytes(dtype));
        if (part_rows != rows) shape = {part_rows, shape.back()};
        parts.push_back({{tensor.name + suffix, dtype, shape}, &tensor, part, format, part_rows, row_bytes});
    };
    const DType data_type = format.codec == &kAffineCodec     ? DType::kU32
                            : format.codec == &kFp8BlockCodec ? DType::kF8E4M3
                                                              : format.dtype;
    add(tensor.full_name ? "" : ".weight", data_type, SynthPart::kData, rows, format.data_row_bytes(columns));
    if (format.codec == &kAffineCodec) {
        add(".scales", format.dtype, SynthPart::kScales, rows, format.scale_row_bytes(columns));
        add(".biases", format.dtype, SynthPart::kZeroPoints, rows, format.zero_point_row_bytes(columns));
    } else if (format.codec == &kFp8BlockCodec) {
        add(".weight_scale_inv", format.dtype, SynthPart::kScales, (rows + kFp8Block - 1) / kFp8Block,
            format.scale_row_bytes(columns));
    }
    return parts;
}

int64_t fill_rows(const SynthStored& stored) {
    if (stored.part == SynthPart::kValues) return 1;
    return std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / stored.row_bytes));
}

void fill(const SynthStored& stored, uint64_t seed, int64_t first, int64_t count, std::span<std::byte> out) {
    if (stored.part == SynthPart::kValues) return fill_values(stored, out.data());
    // Scales and zero points must draw alike, so both go by the name of the module and of "scales".
    const std::string key = stored.tensor->name + (stored.part == SynthPart::kData ? ".weight" : ".scales");
    Random random(XXH3_64bits_withSeed(key.data(), key.size(), seed) + static_cast<uint64_t>(first));
    if (stored.part == SynthPart::kData) return fill_data(stored, random, first, count, out);
    if (stored.format.codec == &kAffineCodec) return fill_affine_grid(stored, random, first, count, out.data());
    const float scale = stored.tensor->deviation / kFp8Spread;
    for (size_t i = 0; i < out.size(); i += sizeof scale) store_unaligned(out.data() + i, scale);
}

}  // namespace sluice
