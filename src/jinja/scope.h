#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

// Variables of one body: the template, a turn of a loop, a macro call. Names are looked up outwards, at the time of
// use. The names themselves belong to the template or to the variables it is rendered with.
class Scope : public Object {
  public:
    explicit Scope(std::shared_ptr<Scope> parent);

    void set(std::string_view name, Value value);
    const Value* find(std::string_view name) const;

    // For a macro that will hold on to this scope, which may in turn hold the macro.
    void hold_until_end(const std::shared_ptr<Scope>& self);
    void drop_references() override { variables_.clear(); }

  private:
    std::shared_ptr<Scope> parent_;
    std::vector<std::pair<std::string_view, Value>> variables_;
    bool held_ = false;
};

}  // namespace sluice::jinja
