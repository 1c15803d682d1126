#include "text/pre_tokenizer.h"

#include <algorithm>
#include <map>

#include "text/byte_alphabet.h"
#include "text/metaspace.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

// What ByteLevel cuts with unless use_regex is false: GPT-2's pattern.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWhitespacePattern = R"(\w+|[^\w\s]+)";

// Joins neighbours where `joins(span, previous was matched)`, walking forward.
template <typename Joins>
void join_spans(std::vector<TextSpan>& spans, Joins joins) {
    size_t kept = 0;
    bool previous_matched = false;
    for (const TextSpan& span : spans) {
        const bool matched = span.matched;
        if (kept > 0 && joins(matched, previous_matched)) {
            // Spans are walked in either direction, so one end or the other moves.
            spans[kept - 1].begin = std::min(spans[kept - 1].begin, span.begin);
            spans[kept - 1].end = std::max(spans[kept - 1].end, span.end);
        } else {
            spans[kept++] = span;
        }
        previous_matched = matched;
    }
    spans.resize(kept);
}

}  // namespace

void WordList::add_word(std::string_view word) {
    if (word.empty()) return;
    text += word;
    items.push_back({text.size(), kWord});
}

void WordList::clear() {
    text.clear();
    items.clear();
    whole = true;
}

PreTokenizer PreTokenizer::parse(const TokenizerField& field) {
    PreTokenizer pre_tokenizer;
    if (!field.is_null()) pre_tokenizer.add(field);
    return pre_tokenizer;
}

PreTokenizer::Behavior PreTokenizer::behavior(const TokenizerField& field) {
    static const std::map<std::string_view, Behavior> kBehaviors = {
        {"Isolated", Behavior::kIsolated},
        {"Removed", Behavior::kRemoved},
        {"MergedWithPrevious", Behavior::kMergedWithPrevious},
        {"MergedWithNext", Behavior::kMergedWithNext},
        {"Contiguous", Behavior::kContiguous},
    };
    const auto found = kBehaviors.find(field.text());
    if (found == kBehaviors.end()) {
        field.unsupported(fmt::format("is {}, a split behavior that is not supported", in_quotes(field.text())));
    }
    return found->second;
}

PreTokenizer::Step PreTokenizer::split_step(const TokenizerField& field) {
    Step step{.behavior = behavior(field.at("behavior")), .invert = field.flag_or("invert", false)};
    step.pattern.emplace(Pattern::parse(field.at("pattern")));
    return step;
}

PreTokenizer::Step PreTokenizer::byte_level_step(const TokenizerField& field) {
    Step step{.prefix = field.at("add_prefix_space").flag() ? Prefix::kAlways : Prefix::kNever, .to_bytes = true};
    if (field.flag_or("use_regex", true)) step.pattern.emplace(Pattern::regex(kByteLevelPattern, field.place()));
    return step;
}

// Spaces become the replacement, which then begins each word: what sentencepiece does.
PreTokenizer::Step PreTokenizer::metaspace_step(const TokenizerField& field) {
    const Metaspace metaspace = Metaspace::parse(field);
    Step step{
        .behavior = Behavior::kMergedWithNext, .prefix_text = metaspace.replacement, .space = metaspace.replacement};
    if (metaspace.scheme == "always") step.prefix = Prefix::kAlways;
    if (metaspace.scheme == "first") step.prefix = Prefix::kFirst;
    if (metaspace.split) step.pattern.emplace(Pattern::literal(metaspace.replacement, field.place()));
    return step;
}

void PreTokenizer::add(const TokenizerField& field) {
    const std::string type = field.at("type").text();
    if (type == "Sequence") {
        for (const TokenizerField& item : field.at("pretokenizers").items()) add(item);
    } else if (type == "Split") {
        steps_.push_back(split_step(field));
    } else if (type == "ByteLevel") {
        steps_.push_back(byte_level_step(field));
    } else if (type == "Metaspace") {
        steps_.push_back(metaspace_step(field));
    } else if (type == "Digits") {
        const bool each = field.at("individual_digits").flag();
        steps_.push_back(
            {.character = utf8::is_number, .behavior = each ? Behavior::kIsolated : Behavior::kContiguous});
    } else if (type == "Punctuation") {
        steps_.push_back({.character = utf8::is_punctuation,
                          .behavior = field.has("behavior") ? behavior(field.at("behavior")) : Behavior::kIsolated});
    } else if (type == "WhitespaceSplit") {
        steps_.push_back({.character = utf8::is_white_space, .behavior = Behavior::kRemoved});
    } else if (type == "Whitespace") {
        Step step{.behavior = Behavior::kRemoved, .invert = true};
        step.pattern.emplace(Pattern::regex(kWhitespacePattern, field.place()));
        steps_.push_back(std::move(step));
    } else if (type == "CharDelimiterSplit") {
        Step step{.behavior = Behavior::kRemoved};
        step.pattern.emplace(Pattern::literal(field.at("delimiter").text(), field.place()));
        steps_.push_back(std::move(step));
    } else {
        field.at("type").unsupported(fmt::format("is {}, a pre-tokenizer that is not supported", in_quotes(type)));
    }
}

void PreTokenizer::apply(WordList& words, PatternScratch& scratch) const {
    WordList next;
    for (const Step& step : steps_) {
        next.clear();
        next.text.reserve(words.text.size() * (step.to_bytes ? 2 : 1));
        next.items.reserve(words.items.size());
        apply_step(step, words, scratch, next);
        std::swap(words, next);
    }
}

// The word as the step wants it before it is cut; `rewritten` holds it where it changes.
std::string_view PreTokenizer::prepared(const Step& step, std::string_view word, bool first, std::string& rewritten) {
    if (!step.space.empty() && word.find(' ') != std::string_view::npos) {
        rewritten = replace_all(word, " ", step.space);
        word = rewritten;
    }
    const bool prefixed = step.prefix == Prefix::kAlways || (step.prefix == Prefix::kFirst && first);
    if (!prefixed || word.starts_with(step.prefix_text)) return word;
    rewritten = step.prefix_text + std::string(word);
    return rewritten;
}

void PreTokenizer::apply_step(const Step& step, const WordList& in, PatternScratch& scratch, WordList& out) {
    std::vector<TextSpan> spans;
    std::string rewritten;
    std::string bytes;
    size_t begin = 0;
    out.whole = in.whole;
    for (const WordList::Item& item : in.items) {
        const bool first = in.whole && &item == in.items.data();
        std::string_view word = std::string_view(in.text).substr(begin, item.end - begin);
        begin = item.end;
        if (item.token != WordList::kWord) {
            out.add_token(item.token);
            continue;
        }
        word = prepared(step, word, first, rewritten);
        spans.clear();
        cut(step, word, scratch, spans);
        if (first && (spans.empty() || spans[0].begin > 0)) out.whole = false;
        for (const TextSpan& span : spans) {
            std::string_view piece = word.substr(span.begin, span.end - span.begin);
            if (step.to_bytes) {
                bytes.clear();
                byte_alphabet::encode(piece, bytes);
                piece = bytes;
            }
            out.add_word(piece);
        }
    }
}

void PreTokenizer::cut(const Step& step, std::string_view word, PatternScratch& scratch, std::vector<TextSpan>& spans) {
    if (step.pattern) {
        step.pattern->find(word, scratch, spans);
    } else if (step.character != nullptr) {
        for (size_t at = 0; at < word.size();) {
            const utf8::Decoded next = utf8::decode(word, at);
            const bool matched = step.character(next.value);
            if (matched || spans.empty() || spans.back().matched) {
                spans.push_back({at, at + next.length, matched});
            } else {
                spans.back().end = at + next.length;
            }
            at += next.length;
        }
    } else {
        spans.push_back({0, word.size(), false});
    }
    if (step.invert) {
        for (TextSpan& span : spans) span.matched = !span.matched;
    }
    const auto match_after_text = [](bool matched, bool previous) { return matched && !previous; };
    switch (step.behavior) {
        case Behavior::kIsolated:
            break;
        case Behavior::kRemoved:
            std::erase_if(spans, [](const TextSpan& span) { return span.matched; });
            break;
        case Behavior::kContiguous:
            join_spans(spans, [](bool matched, bool previous) { return matched == previous; });
            break;
        case Behavior::kMergedWithPrevious:
            join_spans(spans, match_after_text);
            break;
        case Behavior::kMergedWithNext:
            std::reverse(spans.begin(), spans.end());
            join_spans(spans, match_after_text);
            std::reverse(spans.begin(), spans.end());
            break;
    }
}

}  // namespace sluice
