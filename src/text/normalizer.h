#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace sluice {

class TokenizerField;

// `normalizer` of tokenizer.json: rewrites text before it is split. Immutable; many threads may use one, each with
// scratch of its own.
class Normalizer {
  public:
    Normalizer() = default;  // changes nothing
    // Throws kUnsupported, naming it, for a type that is not known.
    static Normalizer parse(const TokenizerField& field);

    bool changes_nothing() const { return steps_.empty(); }
    // `text` is valid UTF-8, and so is the result.
    std::string apply(std::string_view text, PatternScratch& scratch) const;

  private:
    enum class Kind {
        kNfc,
        kNfd,
        kNfkc,
        kNfkd,
        kLowercase,
        kStripAccents,
        kStrip,
        kPrepend,
        kReplace,
        kByteLevel,
    };
    struct Step {
        Kind kind;
        std::string content = {};             // kPrepend, kReplace
        std::optional<Pattern> pattern = {};  // kReplace
        bool left = false;                    // kStrip
        bool right = false;
    };

    void add(const TokenizerField& field);
    static std::string apply_step(const Step& step, std::string_view text, PatternScratch& scratch);

    std::vector<Step> steps_;
};

}  // namespace sluice
