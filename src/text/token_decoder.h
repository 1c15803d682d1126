#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace sluice {

class TokenizerField;

// `decoder` of tokenizer.json: the contents of tokens back to text. Immutable: many streams may use one, in threads of
// their own.
class TokenDecoder {
  public:
    TokenDecoder() = default;  // joins tokens with spaces, as the reference does where the file has no decoder
    // Throws kUnsupported, naming it, for a type that is not known.
    static TokenDecoder parse(const TokenizerField& field);

    // The bytes that one token stands for, whatever its neighbours.
    std::string bytes_of(std::string_view token) const;

  private:
    friend class TokenDecoderStream;
    enum class Kind { kJoin, kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace };
    struct Step {
        Kind kind;
        std::string content = {};             // kReplace, kStrip, kMetaspace
        std::optional<Pattern> pattern = {};  // kReplace
        size_t left = 0;                      // kStrip: how many `content` to drop at most
        size_t right = 0;
        bool drops_first = false;  // kMetaspace: the first token has none instead of spaces
        bool whole_text = false;   // kStrip, kMetaspace: of the text, not of each token
        bool waits = false;        // kByteLevel, kFuse: a later step needs the text whole
    };

    void add(const TokenizerField& field);
    void settle();

    std::vector<Step> steps_ = {{.kind = Kind::kJoin}};
};

// One text in the making: what goes in as tokens comes out as soon as no later token can change it. `decoder` must
// outlive it. One thread.
class TokenDecoderStream {
  public:
    explicit TokenDecoderStream(const TokenDecoder& decoder);

    // Appends to `out` the text that became certain.
    void push(std::string_view token, std::string& out);
    // Appends the rest; nothing may follow.
    void finish(std::string& out);

  private:
    struct State {
        std::string waiting;  // bytes or text held back
        size_t stripped = 0;
        bool begun = false;
    };

    void feed(size_t step, std::string text, std::string& out);
    void feed_bytes(size_t step, std::string_view text, std::string& out);
    void release_bytes(size_t step, std::string& out);
    std::string strip(size_t step, std::string_view text);

    const TokenDecoder* decoder_;
    std::vector<State> states_;
    PatternScratch scratch_;
};

}  // namespace sluice
