#pragma once

#include <optional>
#include <vector>

#include "grammar/program.h"

namespace sluice::grammar {

// What of a program can be passed without reading anything.
class EmptyMoves {
  public:
    explicit EmptyMoves(const Program& program);

    // A rule that comes to itself before anything was read: following it would never end.
    std::optional<RuleId> find_left_recursion() const;
    // What repeats something that may be empty may as well be left out: its minimum becomes 0, so that counting never
    // goes on without reading.
    void make_progress(Program& program) const;

  private:
    template <typename Visit>
    void for_each_target(NodeId id, const Visit& visit) const;

    const Program& program_;
    std::vector<bool> nullable_;  // of nodes: the end of their rule, or of what is repeated, is reached reading nothing
};

}  // namespace sluice::grammar
