#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class TokenizerField;

// A stretch of a text that a pattern matched, or one between matches.
struct TextSpan {
    size_t begin;
    size_t end;
    bool matched;
};

// Working memory for matching; one thread at a time. Costs nothing until a pattern uses it.
class PatternScratch {
  public:
    PatternScratch();
    ~PatternScratch();
    PatternScratch(const PatternScratch&) = delete;
    PatternScratch& operator=(const PatternScratch&) = delete;

  private:
    friend class Pattern;
    struct State;
    std::unique_ptr<State> state_;
};

// A compiled pattern of tokenizer.json. Immutable, cheap to copy: many threads may use one, each with scratch of its
// own.
class Pattern {
  public:
    // Oniguruma syntax. Throws kUnsupported, beginning with `place`, for what cannot be compiled.
    static Pattern regex(std::string_view source, const std::string& place);
    static Pattern literal(std::string_view text, const std::string& place);
    // {"Regex": "..."} or {"String": "..."}.
    static Pattern parse(const TokenizerField& field);

    // Appends spans that cover valid UTF-8 `text` in order. Empty matches count, but for one right after a match.
    // Throws kUnsupported when the text exceeds what the pattern can match within its limits.
    void find(std::string_view text, PatternScratch& scratch, std::vector<TextSpan>& spans) const;
    // Appends `text` to `out` with each match replaced.
    void replace(std::string_view text, std::string_view replacement, PatternScratch& scratch, std::string& out) const;

  private:
    struct Code;
    explicit Pattern(std::shared_ptr<const Code> code);
    static Pattern compile(std::string_view source, unsigned options, const std::string& place);
    std::shared_ptr<const Code> code_;
};

}  // namespace sluice
