#pragma once

// Softmax attention over the cache in tiles of kTile tokens that start at multiples of kTile, with a running maximum
// and sum per query row: a row meets the same tiles in the same order whoever shares its block.

#include "backend/cpu/isa/float_linear.inl.h"

namespace sluice {
namespace {

constexpr int64_t kTile = 64;
static_assert(kTile % kLanes == 0);

constexpr int64_t round_to(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}
constexpr int64_t whole_vectors(int64_t columns) {
    return round_to(columns, kLanes);
}

inline const std::byte* kv_row(const KvRows& rows, int64_t token) {
    return rows.pages[token / rows.page_tokens] + rows.offset +
           static_cast<uint64_t>(token % rows.page_tokens) * rows.token_bytes;
}

// Whole vectors are written, zeros after the last column.
inline void decode_kv(const KvRows& rows, int64_t token, float* out) {
    const std::byte* p = kv_row(rows, token);
    const int64_t count = rows.columns;
    const int64_t padded = whole_vectors(count);
    for (int64_t i = count / kLanes * kLanes; i < padded; i += kLanes) store(out + i, zero());
    switch (rows.format) {
        case KvFormat::kF32:
            return decode_scaled(p, 32, count, 1.0f, out, [](const void* q) { return load_f32(q); });
        case KvFormat::kBF16:
            return decode_scaled(p, 16, count, 1.0f, out, [](const void* q) { return load_bf16(q); });
        case KvFormat::kInt8:
            return decode_scaled(p + 4, 8, count, load_unaligned<float>(p), out,
                                 [](const void* q) { return load_i8(q); });
    }
}

// Tokens [first, first + count) as rows of `stride` floats; the rest of the tile is zero.
inline void load_tile(const KvRows& rows, int64_t first, int64_t count, float* out, int64_t stride) {
    for (int64_t t = 0; t < count; ++t) decode_kv(rows, first + t, out + t * stride);
    for (int64_t t = count; t < kTile; ++t) {
        for (int64_t i = 0; i < whole_vectors(rows.columns); i += kLanes) store(out + t * stride + i, zero());
    }
}

// [kTile, columns] to [columns, kTile].
inline void transpose_tile(const float* tile, int64_t stride, int64_t columns, float* out) {
    for (int64_t t = 0; t < kTile; t += kLanes) {
        for (int64_t column = 0; column < columns; column += kLanes) {
            I lines[kLanes];
            for (int i = 0; i < kLanes; ++i) lines[i] = as_int(load(tile + (t + i) * stride + column));
            transpose(lines);
            for (int64_t i = 0; i < smaller<int64_t>(kLanes, columns - column); ++i) {
                store(out + (column + i) * kTile + t, as_float(lines[i]));
            }
        }
    }
}

// Tiles of keys and values as floats.
class FloatTiles {
  public:
    static constexpr int64_t kStep = kLanes;  // a part of a key starts at a multiple

    static size_t floats(int rows, int64_t key_columns, int64_t value_columns) {
        return static_cast<size_t>((2 * kTile + rows) * key_columns + kTile * whole_vectors(value_columns));
    }
    FloatTiles(float* base, int rows, int64_t key_columns, int64_t value_columns)
        : width_(key_columns), value_stride_(whole_vectors(value_columns)), keys_(base) {
        turned_ = keys_ + kTile * width_;
        values_ = turned_ + kTile * width_;
        query_ = values_ + kTile * value_stride_;
        for (int64_t i = 0; i < rows * width_; ++i) query_[i] = 0;
    }

    void set_query(int row, int64_t column, const float* values, int64_t count) {
        __builtin_memcpy(query_ + row * width_ + column, values, static_cast<size_t>(count) * sizeof(float));
    }
    void load_keys(const KvRows& rows, int64_t column, int64_t first, int64_t count) {
        load_tile(rows, first, count, keys_ + column, width_);
        transpose_tile(keys_ + column, width_, whole_vectors(rows.columns), turned_ + column * kTile);
    }
    void load_values(const KvRows& rows, int64_t first, int64_t count) {
        load_tile(rows, first, count, values_, value_stride_);
        value_rows_ = values_;
        value_row_stride_ = value_stride_;
    }
    void share_values() {
        value_rows_ = keys_;
        value_row_stride_ = width_;
    }
    // The first `count` tokens of the tile, and what fills the last vector.
    void score(int rows, int64_t count, float* scores) const {
        multiply(query_, width_, rows, turned_, kTile, width_, whole_vectors(count), scores, kTile, false);
    }
    void add_values(int rows, int64_t count, float* probabilities, float* sums) const {
        multiply(probabilities, kTile, rows, value_rows_, value_row_stride_, count, value_stride_, sums, value_stride_,
                 true);
    }
    // Scores times unit(scale) are exponents of power().
    static float unit(float scale) { return scale; }
    static F power(F exponent) { return exponential(exponent); }

  private:
    int64_t width_, value_stride_;
    float *keys_, *turned_, *values_, *query_;
    const float* value_rows_ = nullptr;
    int64_t value_row_stride_ = 0;
};

// What one row has seen so far.
struct Softening {
    float maximum, total;
};

// What of a tile a row sees: tokens [begin, end) of it, either perhaps outside.
struct Seen {
    int64_t begin, end;
};

// Turns the scores of one row into probabilities of the tile's first `count` tokens under the row's new maximum; sums
// of values that were weighted under the old one are brought to the new one.
template <typename Tiles>
inline void soften(float* scores, const Seen& seen, int64_t count, F factor, Softening& row, float* sums,
                   int64_t value_stride) {
    alignas(64) float places[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) places[lane] = static_cast<float>(lane);
    const int64_t end = whole_vectors(count);
    F exponents[kTile / kLanes];
    F largest = set1(-__builtin_inff());
    for (int64_t i = 0; i < end; i += kLanes) {
        F s = mul(load(scores + i), factor);
        if (seen.end < i + kLanes) {
            s = select_less(load(places), set1(static_cast<float>(seen.end - i)), s, set1(-__builtin_inff()));
        }
        if (seen.begin > i) {
            s = select_less(load(places), set1(static_cast<float>(seen.begin - i)), set1(-__builtin_inff()), s);
        }
        exponents[i / kLanes] = s;
        largest = max(largest, s);
    }
    const float bound = reduce_max(largest);
    if (bound > row.maximum) {
        alignas(64) float rescale[kLanes];
        store(rescale, Tiles::power(set1(row.maximum - bound)));
        row.maximum = bound;
        row.total *= rescale[0];
        for (int64_t i = 0; i < value_stride; i += kLanes) store(sums + i, mul(load(sums + i), set1(rescale[0])));
    }
    F sum = zero();
    for (int64_t i = 0; i < end; i += kLanes) {
        const F p = Tiles::power(sub(exponents[i / kLanes], set1(row.maximum)));
        store(scores + i, p);
        sum = add(sum, p);
    }
    row.total += reduce_add(sum);
}

// Tokens [first, first + count), brought to the second cache while something else is computed.
inline void prefetch_rows(const KvRows& rows, int64_t first, int64_t count) {
    const int64_t bytes = kv_row_bytes(rows.format, rows.columns);
    for (int64_t t = first; t < first + count; ++t) {
        const std::byte* row = kv_row(rows, t);
        for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
    }
}

inline bool same_rows(const KvRows& a, const KvRows& b) {
    return a.pages == b.pages && a.offset == b.offset && a.columns == b.columns && a.token_bytes == b.token_bytes;
}

template <typename Tiles>
inline int64_t key_width(const KvRows* keys, int parts) {
    int64_t width = 0;
    for (int part = 0; part < parts; ++part) width += round_to(keys[part].columns, Tiles::kStep);
    return width;
}

template <typename Tiles>
inline size_t attention_scratch(const KvRows* keys, int parts, int64_t value_columns, int rows) {
    const int64_t value_stride = whole_vectors(value_columns);
    return Tiles::floats(rows, key_width<Tiles>(keys, parts), value_columns) +
           static_cast<size_t>(rows * (kTile + value_stride)) + 64 +
           static_cast<size_t>(rows) * sizeof(Softening) / sizeof(float);
}

// Where the first tile starts that some row sees a part of.
inline int64_t first_tile(const AttentionRows& a) {
    if (a.begin == nullptr) return a.first;
    int64_t first = a.begin[0];
    for (int r = 1; r < a.rows; ++r) first = smaller(first, a.begin[r]);
    return first / kTile * kTile;
}

template <typename Tiles>
inline void attend(const AttentionRows& a) {
    const int64_t value_stride = whole_vectors(a.values.columns);
    const bool shared = same_rows(a.values, a.keys[0]);  // MLA's latent is both key and value
    float* scores = a.scratch;
    float* sums = scores + a.rows * kTile;
    auto* seen = reinterpret_cast<Softening*>(sums + a.rows * value_stride);
    auto* rest = reinterpret_cast<float*>(seen + a.rows);
    Tiles tiles(scores + round_to(rest - scores, 16), a.rows, key_width<Tiles>(a.keys, a.parts), a.values.columns);
    const F factor = set1(Tiles::unit(a.scale));
    int64_t end = 0;
    for (int r = 0; r < a.rows; ++r) {
        end = a.visible[r] > end ? a.visible[r] : end;
        int64_t column = 0;
        for (int part = 0; part < a.parts; ++part) {
            tiles.set_query(r, column, a.query[part][r], a.keys[part].columns);
            column += round_to(a.keys[part].columns, Tiles::kStep);
        }
        seen[r] = {-__builtin_inff(), 0};
        if (a.sinks != nullptr) seen[r] = {a.sinks[r] * Tiles::unit(1), 1};
        for (int64_t i = 0; i < value_stride; i += kLanes) store(sums + r * value_stride + i, zero());
        if (a.first == 0) continue;
        seen[r] = {*a.maximum[r], *a.total[r]};
        __builtin_memcpy(sums + r * value_stride, a.out[r], static_cast<size_t>(a.values.columns) * sizeof(float));
    }
    for (int64_t first = first_tile(a); first < end; first += kTile) {
        const int64_t count = smaller(kTile, end - first);
        int64_t column = 0;
        const int64_t next = smaller(kTile, end - first - count);
        for (int part = 0; part < a.parts; ++part) {
            tiles.load_keys(a.keys[part], column, first, count);
            prefetch_rows(a.keys[part], first + kTile, next);
            column += round_to(a.keys[part].columns, Tiles::kStep);
        }
        if (shared) {
            tiles.share_values();
        } else {
            tiles.load_values(a.values, first, count);
            prefetch_rows(a.values, first + kTile, next);
        }
        tiles.score(a.rows, count, scores);
        for (int r = 0; r < a.rows; ++r) {
            float* row = scores + r * kTile;
            const Seen of_tile{a.begin == nullptr ? 0 : a.begin[r] - first, a.visible[r] - first};
            if (of_tile.end > 0 && of_tile.begin < count) {
                soften<Tiles>(row, of_tile, count, factor, seen[r], sums + r * value_stride, value_stride);
            } else {
                for (int64_t i = 0; i < whole_vectors(count); i += kLanes) store(row + i, zero());
            }
        }
        tiles.add_values(a.rows, count, scores, sums);
    }
    for (int r = 0; r < a.rows; ++r) {
        const F divisor = set1(a.total == nullptr ? seen[r].total : 1.0f);
        if (a.total != nullptr) {
            *a.maximum[r] = seen[r].maximum;
            *a.total[r] = seen[r].total;
        }
        for_vectors(a.values.columns, [&](int64_t i, int n) {
            store_some(a.out[r] + i, div(load(sums + r * value_stride + i), divisor), n);
        });
    }
}

}  // namespace
}  // namespace sluice
