#include "text/tokenizer_vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace sluice {

namespace {
constexpr TokenId kEmpty = -1;
constexpr size_t kFewestSlots = 64;
}  // namespace

void TokenizerVocabulary::reserve(size_t tokens, size_t bytes) {
    contents_.reserve(bytes);
    by_id_.reserve(tokens);
    grow(std::bit_ceil(std::max(kFewestSlots, tokens * 2)));
}

size_t TokenizerVocabulary::slot_of(std::string_view content) const {
    size_t slot = std::hash<std::string_view>{}(content) & (slots_.size() - 1);
    while (slots_[slot] != kEmpty && view(by_id_[static_cast<size_t>(slots_[slot])]) != content) {
        slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
}

void TokenizerVocabulary::grow(size_t slots) {
    if (slots <= slots_.size()) return;
    slots_.assign(slots, kEmpty);
    for (size_t id = 0; id < by_id_.size(); ++id) {
        if (by_id_[id].offset != UINT32_MAX) slots_[slot_of(view(by_id_[id]))] = static_cast<TokenId>(id);
    }
}

TokenizerVocabulary::Added TokenizerVocabulary::add(std::string_view content, TokenId id) {
    if ((count_ + 1) * 2 > slots_.size()) grow(std::max(kFewestSlots, slots_.size() * 2));
    const auto index = static_cast<size_t>(id);
    const size_t slot = slot_of(content);
    if (slots_[slot] != kEmpty) return Added::kDuplicateContent;
    if (index < by_id_.size() && by_id_[index].offset != UINT32_MAX) return Added::kDuplicateId;
    if (index >= by_id_.size()) by_id_.resize(index + 1);
    by_id_[index] = {static_cast<uint32_t>(contents_.size()), static_cast<uint32_t>(content.size())};
    contents_ += content;
    slots_[slot] = id;
    ++count_;
    return Added::kNew;
}

std::optional<TokenId> TokenizerVocabulary::find(std::string_view content) const {
    if (slots_.empty()) return std::nullopt;
    const TokenId id = slots_[slot_of(content)];
    return id == kEmpty ? std::nullopt : std::optional(id);
}

std::optional<std::string_view> TokenizerVocabulary::content(TokenId id) const {
    if (id < 0 || id >= id_limit()) return std::nullopt;
    const Entry& entry = by_id_[static_cast<size_t>(id)];
    if (entry.offset == UINT32_MAX) return std::nullopt;
    return view(entry);
}

}  // namespace sluice
