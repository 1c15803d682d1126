#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice {

// Ids a vocabulary may use; bounds what a hostile file can make us allocate. The largest published ones are near 2^18.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

// Tokens by content and by id. All contents lie in one string: a vocabulary of 150,000 makes three allocations, not as
// many as it has tokens. Immutable once filled: const methods may be called from many threads.
class TokenizerVocabulary {
  public:
    enum class Added { kNew, kDuplicateContent, kDuplicateId };

    void reserve(size_t tokens, size_t bytes);
    // `id` in [0, kMaxTokenId]. Changes nothing unless kNew.
    Added add(std::string_view content, TokenId id);

    std::optional<TokenId> find(std::string_view content) const;
    // Empty optional for an id that no token has. The view lives until the next add.
    std::optional<std::string_view> content(TokenId id) const;

    size_t size() const { return count_; }
    TokenId id_limit() const { return static_cast<TokenId>(by_id_.size()); }  // largest id + 1

  private:
    struct Entry {
        uint32_t offset = UINT32_MAX;  // UINT32_MAX: no such token
        uint32_t length = 0;
    };
    std::string_view view(const Entry& entry) const {
        return std::string_view(contents_).substr(entry.offset, entry.length);
    }
    // The slot that holds `content`, or the empty one where it would go.
    size_t slot_of(std::string_view content) const;
    void grow(size_t slots);

    std::string contents_;
    std::vector<Entry> by_id_;
    std::vector<TokenId> slots_;  // open addressing, a power of two, -1: empty
    size_t count_ = 0;
};

}  // namespace sluice
