#pragma once

// Softmax attention over the cache in tiles of kTile tokens that start at multiples of kTile, with a running
// maximum and sum per query row: a row meets the same tiles in the same order whoever shares its block.

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
    }
    void turn_keys() { transpose_tile(keys_, width_, width_, turned_); }
    void load_values(const KvRows& rows, int64_t first, int64_t count) {
        load_tile(rows, first, count, values_, value_stride_);
        value_rows_ = values_;
        value_row_stride_ = value_stride_;
    }
    void share_values() {
        value_rows_ = keys_;
        value_row_stride_ = width_;
    }
    void score(int rows, float* scores) const {
        multiply(query_, width_, rows, turned_, kTile, width_, kTile, scores, kTile, false);
    }
    void add_values(int rows, float* probabilities, float* sums) const {
        multiply(probabilities, kTile, rows, value_rows_, value_row_stride_, kTile, value_stride_, sums,
                 value_stride_, true);
    }

  private:
    int64_t width_, value_stride_;
    float *keys_, *turned_, *values_, *query_;
    const float* value_rows_ = nullptr;
    int64_t value_row_stride_ = 0;
};

// Turns the scores of one row into probabilities of this tile under the row's new maximum.
inline void soften(float* scores, int64_t visible, float scale, float* maximum, float* total, float* sums,
                   int64_t value_stride) {
    const F factor = set1(scale);
    F largest = set1(-__builtin_inff());
    for (int64_t i = 0; i < kTile; i += kLanes) {
        const int n = static_cast<int>(smaller<int64_t>(kLanes, visible - i));
        F s = mul(load(scores + i), factor);
        if (n < kLanes) {
            alignas(64) float part[kLanes];
            store(part, s);
            for (int lane = n < 0 ? 0 : n; lane < kLanes; ++lane) part[lane] = -__builtin_inff();
            s = load(part);
        }
        store(scores + i, s);
        largest = max(largest, s);
    }
    const float before = *maximum;
    const float now = reduce_max(largest) > before ? reduce_max(largest) : before;
    F sum = zero();
    for (int64_t i = 0; i < kTile; i += kLanes) {
        const F p = exponential(sub(load(scores + i), set1(now)));
        store(scores + i, p);
        sum = add(sum, p);
    }
    alignas(64) float rescale[kLanes];
    store(rescale, exponential(set1(before - now)));
    *maximum = now;
    *total = *total * rescale[0] + reduce_add(sum);
    if (now != before) {
        for (int64_t i = 0; i < value_stride; i += kLanes)
            store(sums + i, mul(load(sums + i), set1(rescale[0])));
    }
}

inline bool same_rows(const KvRows& a, const KvRows& b) {
    return a.pages == b.pages && a.offset == b.offset && a.columns == b.columns &&
           a.token_bytes == b.token_bytes;
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
           static_cast<size_t>(rows * (kTile + value_stride + 2)) + 64;
}

template <typename Tiles>
inline void attend(const AttentionRows& a) {
    const int64_t value_stride = whole_vectors(a.values.columns);
    const bool shared = same_rows(a.values, a.keys[0]);  // MLA's latent is both key and value
    float* scores = a.scratch;
    float* sums = scores + a.rows * kTile;
    float* maximum = sums + a.rows * value_stride;
    float* total = maximum + a.rows;
    Tiles tiles(scores + round_to(total + a.rows - scores, 16), a.rows, key_width<Tiles>(a.keys, a.parts),
                a.values.columns);
    int64_t end = 0;
    for (int r = 0; r < a.rows; ++r) {
        end = a.visible[r] > end ? a.visible[r] : end;
        int64_t column = 0;
        for (int part = 0; part < a.parts; ++part) {
            tiles.set_query(r, column, a.query[part][r], a.keys[part].columns);
            column += round_to(a.keys[part].columns, Tiles::kStep);
        }
        maximum[r] = -__builtin_inff();
        total[r] = 0;
        for (int64_t i = 0; i < value_stride; i += kLanes) store(sums + r * value_stride + i, zero());
    }
    for (int64_t first = 0; first < end; first += kTile) {
        const int64_t count = smaller(kTile, end - first);
        int64_t column = 0;
        for (int part = 0; part < a.parts; ++part) {
            tiles.load_keys(a.keys[part], column, first, count);
            column += round_to(a.keys[part].columns, Tiles::kStep);
        }
        tiles.turn_keys();
        if (shared) {
            tiles.share_values();
        } else {
            tiles.load_values(a.values, first, count);
        }
        tiles.score(a.rows, scores);
        for (int r = 0; r < a.rows; ++r) {
            float* row = scores + r * kTile;
            if (a.visible[r] > first) {
                soften(row, a.visible[r] - first, a.scale, maximum + r, total + r, sums + r * value_stride,
                       value_stride);
            } else {
                for (int64_t i = 0; i < kTile; i += kLanes) store(row + i, zero());
            }
        }
        tiles.add_values(a.rows, scores, sums);
    }
    for (int r = 0; r < a.rows; ++r) {
        const F divisor = set1(total[r]);
        for_vectors(a.values.columns, [&](int64_t i, int n) {
            store_some(a.out[r] + i, div(load(sums + r * value_stride + i), divisor), n);
        });
    }
}

}  // namespace
}  // namespace sluice
