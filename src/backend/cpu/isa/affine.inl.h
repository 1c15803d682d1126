#pragma once

// Affine weights times int8 activations. A group's products are added up exactly in int32; groups are added in float,
// in ascending order, row by row in lanes: acc += zero point * sum(x); acc += scale * (scale_x * sum(q x)). The vector
// and the matrix form do the same operations in the same order.

#include "backend/cpu/isa/quantize.inl.h"
#include "backend/cpu/kernels.h"
#include "tensor/dtype.h"

namespace sluice {
namespace {

constexpr int64_t kLineBytes = 64;
// How far ahead weights are brought to the second cache: the time that a read takes at full speed.
constexpr int64_t kAheadBytes = 8192;

// For reading soon; any address will do.
inline void prefetch(const std::byte* p) {
    __builtin_prefetch(p, 0, 2);
}

// Bytes of a row of scales or zero points: WeightFormat::scale_row_bytes for what affine has, without a call.
inline int64_t factor_row_bytes(const WeightView& w) {
    return w.columns / w.format.group_size * (w.format.dtype == DType::kF32 ? 4 : 2);
}

// Scales or zero points of a weight.
struct Factors {
    const std::byte *first, *end;
    int64_t stride;  // bytes per row
    DType dtype;
    int width;

    Factors(const WeightView& w, const std::byte* data)
        : first(data), stride(factor_row_bytes(w)), dtype(w.format.dtype), width(dtype == DType::kF32 ? 4 : 2) {
        end = data + w.rows * stride;
    }
};

// Rows row, row + 1, ... of a weight, kLanes of them; the last one again where there are fewer.
inline void row_pointers(const std::byte* first, int64_t stride, int rows, const std::byte* (&out)[kLanes]) {
    for (int r = 0; r < kLanes; ++r) out[r] = first + smaller(r, rows - 1) * stride;
}

constexpr int kFactorGroups = 2 * kLanes;

// Lane r of out[i] is that of row `row + r` and group `group + i`, for `count` groups.
inline void load_factors(const Factors& factors, int64_t row, int rows, int64_t group, int count,
                         float (&out)[kFactorGroups][kLanes]) {
    const int per_vector = kVectorBytes / factors.width;
    const std::byte* pointers[kLanes];
    row_pointers(factors.first + row * factors.stride, factors.stride, rows, pointers);
    alignas(64) std::byte copy[kLanes][kVectorBytes];
    for (int done = 0; done < count; done += per_vector) {
        const int64_t offset = (group + done) * factors.width;
        const int some = smaller(per_vector, count - done);
        const std::byte* parts[kLanes];
        for (int r = 0; r < kLanes; ++r) parts[r] = pointers[r] + offset;
        // What is read beyond the last group is another row's and not used, but it must be there.
        for (int r = kLanes - 1; r >= 0 && some < per_vector; --r) {
            if (factors.end - parts[r] >= kVectorBytes) break;
            __builtin_memcpy(copy[r], parts[r], static_cast<size_t>(some * factors.width));
            parts[r] = copy[r];
        }
        I v[kLanes];
        load_transposed(parts, 0, v);
        const int words = (some * factors.width + 3) / 4;
        for (int i = 0; i < words; ++i) {
            switch (factors.dtype) {
                case DType::kBF16:
                    store(out[done + 2 * i], low_bf16(v[i]));
                    store(out[done + 2 * i + 1], high_bf16(v[i]));
                    break;
                case DType::kF16:
                    store(out[done + 2 * i], low_f16(v[i]));
                    store(out[done + 2 * i + 1], high_f16(v[i]));
                    break;
                default:
                    store(out[done + i], as_float(v[i]));
            }
        }
    }
}

// The columns of unit bytes at p, `kHalves` vectors of unsigned bytes.
template <int kBits>
inline void unpack_unit(const std::byte* p, I (&out)[kBits == 4 ? 2 : 1]) {
    if constexpr (kBits == 4) {
        const I packed = iload(p);
        out[0] = low_nibbles(packed);
        out[1] = high_nibbles(packed);
    } else {
        out[0] = unpack<kBits>(p);
    }
}

// Calls function.template operator()<bits>().
template <typename Function>
inline void with_bits(int bits, Function&& function) {
    switch (bits) {
        case 2:
            return function.template operator()<2>();
        case 3:
            return function.template operator()<3>();
        case 4:
            return function.template operator()<4>();
        case 5:
            return function.template operator()<5>();
        case 6:
            return function.template operator()<6>();
        default:
            return function.template operator()<8>();
    }
}

// The products of one step of a row: as many lanes per group as a vector has for each of the step's groups.
template <int kBits, int kGroup>
inline I step_products(const std::byte* p, const int8_t* x) {
    using Shape = AffineShape<kBits, kGroup>;
    I sum = izero();
#pragma GCC unroll 4
    for (int u = 0; u < Shape::kUnits; ++u) {
        I w[Shape::kHalves];
        unpack_unit<kBits>(p + u * Shape::kUnitBytes, w);
#pragma GCC unroll 2
        for (int h = 0; h < Shape::kHalves; ++h) {
            const I values = iload(x + (u * Shape::kHalves + h) * kVectorBytes);
            sum = dot4<Shape::kWide>(sum, w[h], values);
        }
    }
    return sum;
}

// One vector of the sums of kLanes groups, out of as many steps as have them.
template <int kGroups>
struct GroupSums {
    static constexpr int kSteps = kLanes / kGroups;
    static constexpr int kQuads = kSteps / 4;

    // Where the sum of a group ends up.
    static constexpr int lane(int group) {
        const int step = group / kGroups;
        return (step / 4 * kGroups + group % kGroups) * 4 + step % 4;
    }

    static I of(const I (&steps)[kSteps]) {
        I quads[kQuads];
#pragma GCC unroll 4
        for (int q = 0; q < kQuads; ++q)
            quads[q] = reduce4(steps[4 * q], steps[4 * q + 1], steps[4 * q + 2], steps[4 * q + 3]);
        if constexpr (kQuads == 1) {
            return quads[0];
        } else if constexpr (kQuads == 2) {
            return add_part_pairs(quads[0], quads[1]);
        } else {
            return add_part_pairs(add_part_pairs(quads[0], quads[1]), add_part_pairs(quads[2], quads[3]));
        }
    }
};

// The sums of `count` groups of a row, a multiple of kLanes, at p, to `out` in the order of GroupSums; meanwhile as
// much at `ahead` is brought to the cache.
template <int kBits, int kGroup>
inline void row_sums(const std::byte* p, const std::byte* ahead, const int8_t* x, int count, int32_t* out) {
    using Shape = AffineShape<kBits, kGroup>;
    using Sums = GroupSums<Shape::kGroups>;
    for (int done = 0; done < count; done += kLanes, out += kLanes) {
        I steps[Sums::kSteps];
#pragma GCC unroll 16
        for (int s = 0; s < Sums::kSteps; ++s) {
            for (int line = 0; line < Shape::kStepBytes; line += kLineBytes)
                prefetch(ahead + s * Shape::kStepBytes + line);
            steps[s] = step_products<kBits, kGroup>(p + s * Shape::kStepBytes, x + s * Shape::kStep);
        }
        istore(out, Sums::of(steps));
        p += Sums::kSteps * Shape::kStepBytes;
        ahead += Sums::kSteps * Shape::kStepBytes;
        x += Sums::kSteps * Shape::kStep;
    }
}

// The sums of a step's groups of kLanes rows, row r in lane r. Of the last step of a row, `bytes` are there.
template <int kBits, int kGroup>
inline void step_sums(const std::byte* const (&rows)[kLanes], int64_t offset, int64_t bytes, const int8_t* x,
                      I (&out)[AffineShape<kBits, kGroup>::kGroups]) {
    using Shape = AffineShape<kBits, kGroup>;
    constexpr int kParts = kLanes / 4, kPartsPerGroup = kParts / Shape::kGroups;
    I quads[kParts];
    const auto products = [&](int row) {
        if (bytes >= Shape::kStepBytes) return step_products<kBits, kGroup>(rows[row] + offset, x);
        alignas(64) std::byte copy[Shape::kStepBytes] = {};
        __builtin_memcpy(copy, rows[row] + offset, static_cast<size_t>(bytes));
        return step_products<kBits, kGroup>(copy, x);
    };
#pragma GCC unroll 4
    for (int q = 0; q < kParts; ++q)
        quads[q] = reduce4(products(4 * q), products(4 * q + 1), products(4 * q + 2), products(4 * q + 3));
    transpose_parts(quads);
#pragma GCC unroll 4
    for (int g = 0; g < Shape::kGroups; ++g) {
        out[g] = quads[g * kPartsPerGroup];
        for (int part = 1; part < kPartsPerGroup; ++part) out[g] = iadd(out[g], quads[g * kPartsPerGroup + part]);
    }
}

inline F add_group(F acc, F scale, F zero_point, I sum, float x_scale, float x_sum) {
    acc = fma(zero_point, set1(x_sum), acc);
    return fma(scale, mul(to_float(sum), set1(x_scale)), acc);
}

// Where a block of kLanes rows lies.
struct Block {
    const std::byte *data, *scales, *zero_points;
};

// The block of kRows rows that is `distance` rows after `row`, which may lie in `next`; without one, that at `row`.
template <int kRows>
inline Block block_ahead(const WeightView& w, int64_t row, int64_t distance, const WeightView* next) {
    const WeightView* from = &w;
    int64_t at = row + distance;
    if (at >= w.rows) {
        from = next;
        at -= (w.rows + kRows - 1) / kRows * kRows;
    }
    if (from == nullptr || at >= from->rows) {
        from = &w;
        at = row;
    }
    const int64_t scale_stride = factor_row_bytes(*from);
    return {from->data + at * (from->columns * from->format.bits / 8), from->scales + at * scale_stride,
            from->zero_points + at * scale_stride};
}

// The scales of kLanes groups of every row of a block, from byte `offset` of a row on.
inline void prefetch_factors(const Block& block, int64_t stride, int64_t offset) {
    for (int r = 0; r < kLanes; ++r) {
        prefetch(block.scales + r * stride + offset);
        prefetch(block.zero_points + r * stride + offset);
    }
}

// `rows` rows from `first_row` on times x, row r in lane r, while `ahead` comes to the cache: a block that will be read
// after this one. Memory is read in order, row by row; the sums are turned afterwards.
template <int kBits, int kGroup>
inline F block_dot(const WeightView& w, int64_t first_row, int rows, const QuantizedRow& x, const Block& ahead) {
    using Shape = AffineShape<kBits, kGroup>;
    using Sums = GroupSums<Shape::kGroups>;
    const int64_t stride = w.columns * kBits / 8;
    const int64_t groups = w.columns / kGroup;
    const Factors scale_factors(w, w.scales), zero_point_factors(w, w.zero_points);
    const std::byte* data = w.data + first_row * stride;
    alignas(64) float scales[kFactorGroups][kLanes], zero_points[kFactorGroups][kLanes];
    alignas(64) int32_t sums[kLanes][kFactorGroups];
    const std::byte *lines[kLanes], *row_data[kLanes];
    for (int r = 0; r < kLanes; ++r) lines[r] = reinterpret_cast<const std::byte*>(sums[smaller(r, rows - 1)]);
    row_pointers(data, stride, rows, row_data);
    F acc = zero();
    for (int64_t base = 0; base < groups; base += kFactorGroups) {
        const int count = static_cast<int>(smaller<int64_t>(kFactorGroups, groups - base));
        const int by_rows = count / kLanes * kLanes;
        const int64_t column = base * kGroup, offset = column * kBits / 8;
        if (by_rows > 0) {
            for (int r = 0; r < rows; ++r) {
                const int64_t at = r * stride + offset;
                row_sums<kBits, kGroup>(data + at, ahead.data + at, x.values + column, by_rows, sums[r]);
            }
        }
        load_factors(scale_factors, first_row, rows, base, count, scales);
        load_factors(zero_point_factors, first_row, rows, base, count, zero_points);
        prefetch_factors(ahead, scale_factors.stride, base * scale_factors.width);
        const auto add_sums = [&](int group, I turned) {
            acc = add_group(acc, load(scales[group]), load(zero_points[group]), turned, x.scales[base + group],
                            x.sums[base + group]);
        };
        for (int done = 0; done < by_rows; done += kLanes) {
            I turned[kLanes];
            load_transposed(lines, done * static_cast<int64_t>(sizeof(int32_t)), turned);
            for (int g = 0; g < kLanes; ++g) add_sums(done + g, turned[Sums::lane(g)]);
        }
        // Too few groups for a vector of a row's sums: the same step of all rows together.
        for (int done = by_rows; done < count; done += Shape::kGroups) {
            const int64_t at = (base + done) * kGroup * kBits / 8;
            for (int r = 0; r < rows; ++r) {
                for (int line = 0; line < Shape::kStepBytes; line += kLineBytes)
                    prefetch(ahead.data + r * stride + at + line);
            }
            I turned[Shape::kGroups];
            step_sums<kBits, kGroup>(row_data, at, stride - at, x.values + (base + done) * kGroup, turned);
            for (int g = 0; g < smaller(Shape::kGroups, count - done); ++g) add_sums(done + g, turned[g]);
        }
    }
    return acc;
}

template <int kBits, int kGroup>
inline void affine_vector(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                          const WeightView* next) {
    const int64_t block_bytes = kLanes * weight.columns * kBits / 8;
    const int64_t distance = (kAheadBytes + block_bytes - 1) / block_bytes * kLanes;
    for (int64_t row = 0; row < weight.rows; row += kLanes) {
        const int rows = static_cast<int>(smaller<int64_t>(kLanes, weight.rows - row));
        const Block ahead = block_ahead<kLanes>(weight, row, distance, next);
        const F result = block_dot<kBits, kGroup>(weight, row, rows, x, ahead);
        store_some(out + row, accumulate ? add(load_some(out + row, rows), result) : result, rows);
    }
}

// Whether a weight that comes after another is read in the same way.
inline bool is_alike(const WeightView& weight, const WeightView& next) {
    return next.format == weight.format && next.columns == weight.columns && next.tiled == weight.tiled;
}

inline void affine_vector_any(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                              const WeightView* next) {
    if (next != nullptr && !is_alike(weight, *next)) next = nullptr;
    with_bits(weight.format.bits, [&]<int kBits>() {
        switch (weight.format.group_size) {
            case 32:
                return affine_vector<kBits, 32>(weight, x, out, accumulate, next);
            case 64:
                return affine_vector<kBits, 64>(weight, x, out, accumulate, next);
            default:
                return affine_vector<kBits, 128>(weight, x, out, accumulate, next);
        }
    });
}

}  // namespace
}  // namespace sluice
