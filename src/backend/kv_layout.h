#pragma once

#include <cstdint>

#include "backend/operations/attention.h"

namespace sluice {

// Where rows lie in a page of the KV cache (see KvPages), in bytes.
struct GroupedKvLayout {
    int64_t page_tokens, kv_heads;
    uint64_t key_bytes, value_bytes;  // of a row

    GroupedKvLayout(KvFormat format, int64_t tokens, int64_t heads, int64_t head_dim, int64_t value_dim)
        : page_tokens(tokens),
          kv_heads(heads),
          key_bytes(kv_row_bytes(format, head_dim)),
          value_bytes(kv_row_bytes(format, value_dim)) {}

    uint64_t page_bytes() const { return value(kv_heads, 0); }
    uint64_t key(int64_t kv_head, int64_t token) const {
        return static_cast<uint64_t>(kv_head * page_tokens + token) * key_bytes;
    }
    // Behind the keys of all heads.
    uint64_t value(int64_t kv_head, int64_t token) const {
        return key(kv_heads, 0) + static_cast<uint64_t>(kv_head * page_tokens + token) * value_bytes;
    }
};

// Of AppendRows; rows of runs count as tokens.
struct RowKvLayout {
    int64_t page_tokens;
    uint64_t row_bytes;

    RowKvLayout(KvFormat format, int64_t tokens, int64_t width)
        : page_tokens(tokens), row_bytes(kv_row_bytes(format, width)) {}

    uint64_t page_bytes() const { return row(page_tokens); }
    uint64_t row(int64_t token) const { return static_cast<uint64_t>(token) * row_bytes; }
};

struct LatentKvLayout {
    int64_t page_tokens;
    uint64_t latent_bytes, token_bytes;

    LatentKvLayout(KvFormat format, int64_t tokens, int64_t kv_lora, int64_t rope)
        : page_tokens(tokens),
          latent_bytes(kv_row_bytes(format, kv_lora)),
          token_bytes(latent_bytes + (rope == 0 ? 0 : kv_row_bytes(format, rope))) {}

    uint64_t page_bytes() const { return static_cast<uint64_t>(page_tokens) * token_bytes; }
    uint64_t latent(int64_t token) const { return static_cast<uint64_t>(token) * token_bytes; }
    uint64_t rotary_key(int64_t token) const { return latent(token) + latent_bytes; }
};

}  // namespace sluice
