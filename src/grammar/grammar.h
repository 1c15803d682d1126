#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "grammar/begin_marker.h"
#include "grammar/explorer.h"
#include "grammar/program.h"
#include "sluice/grammar.h"

namespace sluice {

class Grammar {
  public:
    Grammar(grammar::Program program, std::shared_ptr<const grammar::Vocabulary> vocabulary);

    const grammar::Program& program() const { return *program_; }
    const grammar::Vocabulary& vocabulary() const { return *vocabulary_; }
    // The one that new masks are computed in: another one, once it holds too much.
    std::shared_ptr<grammar::Explorer> explorer() const;
    std::shared_ptr<const grammar::BeginMarker> marker(const std::string& text) const;

  private:
    std::shared_ptr<const grammar::Program> program_;
    std::shared_ptr<const grammar::Vocabulary> vocabulary_;
    mutable std::mutex mutex_;
    mutable std::shared_ptr<grammar::Explorer> explorer_;
    mutable std::map<std::string, std::shared_ptr<const grammar::BeginMarker>> markers_;
};

}  // namespace sluice
