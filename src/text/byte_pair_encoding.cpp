#include "text/byte_pair_encoding.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

uint64_t pair_key(TokenId left, TokenId right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

// std::push_heap keeps the largest in front, so the best candidate must compare largest.
struct Worse {
    bool operator()(const BytePairEncoding::Scratch::Candidate& a,
                    const BytePairEncoding::Scratch::Candidate& b) const {
        return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
    }
};

}  // namespace

void BytePairEncoding::MergeTable::reserve(size_t merges) {
    const size_t slots = std::bit_ceil(std::max<size_t>(2, merges * 2));
    slots_.assign(slots, Slot{});
    shift_ = 64 - static_cast<unsigned>(std::countr_zero(slots));
}

size_t BytePairEncoding::MergeTable::slot_of(uint64_t pair) const {
    constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio: spreads runs of ids
    auto slot = static_cast<size_t>((pair * kGolden) >> shift_);
    while (slots_[slot].pair != pair && slots_[slot].pair != UINT64_MAX) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
}

void BytePairEncoding::MergeTable::set(TokenId left, TokenId right, Merge merge) {
    const uint64_t pair = pair_key(left, right);
    slots_[slot_of(pair)] = {pair, merge};
}

const BytePairEncoding::MergeTable::Merge* BytePairEncoding::MergeTable::find(TokenId left, TokenId right) const {
    const uint64_t pair = pair_key(left, right);
    const Slot& slot = slots_[slot_of(pair)];
    return slot.pair == pair ? &slot.merge : nullptr;
}

BytePairEncoding::BytePairEncoding(TokenizerFile& file) : label_(file.label), vocabulary_(std::move(file.vocabulary)) {
    const TokenizerField document(file.rest, label_ + ": ");
    const TokenizerField model = document.at("model");
    if (model.has("dropout") && model.at("dropout").number() != 0) {
        model.at("dropout").unsupported("asks for random merges; only null or 0 is supported");
    }
    if (model.has("unk_token")) unknown_ = model.at("unk_token").text();
    prefix_ = model.text_or("continuing_subword_prefix", "");
    suffix_ = model.text_or("end_of_word_suffix", "");
    fuse_unknown_ = model.flag_or("fuse_unk", false);
    byte_fallback_ = model.flag_or("byte_fallback", false);
    ignore_merges_ = model.flag_or("ignore_merges", false);
    if (file.merges.empty()) refuse_stripped_merges(document);

    merges_.reserve(file.merges.size());
    for (const TokenizerFile::Merge& merge : file.merges) {
        // A pair given twice counts by its last place, as the reference does it.
        merges_.set(merge.left, merge.right, {merge.rank, merge.result});
    }
    file.merges = {};
    fragments_ = std::move(file.fragments);
    for (size_t i = 0; i < fragments_.size(); ++i) fragment_ids_.emplace(fragments_[i], TokenizerFile::fragment_id(i));

    for (size_t c = 0; c < common_characters_.size(); ++c) {
        std::string character;
        utf8::append(character, static_cast<char32_t>(c));
        common_characters_[c] = vocabulary_.find(character).value_or(kNone);
    }
    for (size_t byte = 0; byte < byte_tokens_.size(); ++byte) {
        byte_tokens_[byte] = vocabulary_.find(fmt::format("<0x{:02X}>", byte)).value_or(kNone);
    }
}

// A vocabulary of single characters needs no merges; any other was cut off from them, and would encode text as
// characters without a word of complaint.
void BytePairEncoding::refuse_stripped_merges(const TokenizerField& document) const {
    if (ignore_merges_ || !prefix_.empty() || !suffix_.empty()) return;
    std::unordered_set<std::string> added;
    if (document.has("added_tokens")) {
        for (const TokenizerField& token : document.at("added_tokens").items())
            added.insert(token.text_or("content", ""));
    }
    for (TokenId id = 0; id < vocabulary_.id_limit(); ++id) {
        const auto content = vocabulary_.content(id);
        if (!content || content->empty() || utf8::decode(*content, 0).length == content->size()) continue;
        if (content == unknown_ || (content->size() == 6 && content->starts_with("<0x"))) continue;
        if (added.contains(std::string(*content))) continue;
        fail(ErrorCode::kInvalidFile, "{}: model.merges is empty, so that {} of model.vocab can never be made", label_,
             in_quotes(*content));
    }
}

TokenId BytePairEncoding::unknown_id() const {
    const auto id = vocabulary_.find(*unknown_);
    if (!id) {
        fail(ErrorCode::kInvalidFile, "{}: model.unk_token {} is needed and not in model.vocab", label_,
             in_quotes(*unknown_));
    }
    return *id;
}

TokenId BytePairEncoding::character_id(std::string_view character, bool first, bool last) const {
    const bool decorated = (!first && !prefix_.empty()) || (last && !suffix_.empty());
    if (!decorated) {
        const char32_t value = utf8::decode(character, 0).value;
        if (value < common_characters_.size()) return common_characters_[value];
        return vocabulary_.find(character).value_or(kNone);
    }
    const std::string whole = fmt::format("{}{}{}", first ? "" : prefix_, character, last ? suffix_ : "");
    return vocabulary_.find(whole).value_or(kNone);
}

TokenId BytePairEncoding::fragment_of(std::string_view character) const {
    if (fragments_.empty()) return kNone;
    const auto found = fragment_ids_.find(std::string(character));
    return found == fragment_ids_.end() ? kNone : found->second;
}

// One that no merge took.
void BytePairEncoding::add_fragment(TokenId id, std::vector<TokenId>& ids) const {
    std::vector<Scratch::Symbol> bytes;
    if (add_bytes(fragments_[static_cast<size_t>(-2 - id)], false, false, bytes)) {
        for (const Scratch::Symbol& byte : bytes) ids.push_back(byte.id);
    } else if (unknown_) {
        ids.push_back(unknown_id());
    }
}

bool BytePairEncoding::add_bytes(std::string_view character, bool first, bool last,
                                 std::vector<Scratch::Symbol>& symbols) const {
    const std::string whole = fmt::format("{}{}{}", first ? "" : prefix_, character, last ? suffix_ : "");
    const auto token_of = [this](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
    if (std::any_of(whole.begin(), whole.end(), [&](char byte) { return token_of(byte) == kNone; })) return false;
    for (const char byte : whole) symbols.push_back({token_of(byte), kNowhere, kNowhere});
    return true;
}

void BytePairEncoding::split_characters(std::string_view word, std::vector<Scratch::Symbol>& symbols) const {
    symbols.clear();
    bool unknown_waits = false;
    const auto add_unknown = [&] {
        if (unknown_waits) symbols.push_back({unknown_id(), kNowhere, kNowhere});
        unknown_waits = false;
    };
    for (size_t at = 0; at < word.size();) {
        const size_t length = utf8::length_from_lead(word[at]);
        const std::string_view character = word.substr(at, length);
        const bool first = at == 0;
        at += length;
        const bool last = at == word.size();
        TokenId id = character_id(character, first, last);
        if (id == kNone) id = fragment_of(character);
        if (id != kNone) {
            add_unknown();
            symbols.push_back({id, kNowhere, kNowhere});
            continue;
        }
        // The reference leaves an unknown token waiting across byte tokens, and so must we to agree with it.
        if (byte_fallback_ && add_bytes(character, first, last, symbols)) continue;
        if (unknown_) {
            if (!fuse_unknown_) add_unknown();
            unknown_waits = true;
        }
    }
    add_unknown();
    for (size_t i = 0; i < symbols.size(); ++i) {
        symbols[i].previous = i == 0 ? kNowhere : static_cast<uint32_t>(i - 1);
        symbols[i].next = i + 1 == symbols.size() ? kNowhere : static_cast<uint32_t>(i + 1);
    }
}

void BytePairEncoding::consider(Scratch& scratch, uint32_t position) const {
    const Scratch::Symbol& left = scratch.symbols[position];
    if (left.next == kNowhere) return;
    const MergeTable::Merge* merge = merges_.find(left.id, scratch.symbols[left.next].id);
    if (merge == nullptr) return;
    scratch.queue.push_back({merge->rank, position, merge->result});
}

void BytePairEncoding::merge_all(Scratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& queue = scratch.queue;
    queue.clear();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(scratch, static_cast<uint32_t>(i));
    std::make_heap(queue.begin(), queue.end(), Worse{});
    const auto push = [&](uint32_t position) {
        const size_t before = queue.size();
        consider(scratch, position);
        if (queue.size() > before) std::push_heap(queue.begin(), queue.end(), Worse{});
    };
    while (!queue.empty()) {
        std::pop_heap(queue.begin(), queue.end(), Worse{});
        const Scratch::Candidate best = queue.back();
        queue.pop_back();
        Scratch::Symbol& left = symbols[best.position];
        if (left.id == kNone || left.next == kNowhere) continue;
        // Earlier merges may have changed either side since the candidate was found.
        const Scratch::Symbol right = symbols[left.next];
        const MergeTable::Merge* merge = merges_.find(left.id, right.id);
        if (merge == nullptr || merge->result != best.result) continue;
        symbols[left.next].id = kNone;
        left.id = best.result;
        left.next = right.next;
        if (right.next != kNowhere) symbols[right.next].previous = best.position;
        if (left.previous != kNowhere) push(left.previous);
        push(best.position);
    }
}

void BytePairEncoding::encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
    if (word.empty()) return;
    if (word.size() >= std::numeric_limits<int32_t>::max()) {
        fail(ErrorCode::kUsage, "a word of {} bytes is too long to encode", word.size());
    }
    if (ignore_merges_) {
        if (const auto id = vocabulary_.find(word)) {
            ids.push_back(*id);
            return;
        }
    }
    split_characters(word, scratch.symbols);
    merge_all(scratch);
    for (const Scratch::Symbol& symbol : scratch.symbols) {
        if (symbol.id >= 0) ids.push_back(symbol.id);
        if (symbol.id < kNone) add_fragment(symbol.id, ids);
    }
}

}  // namespace sluice
