#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "jinja/operations.h"
#include "jinja/value.h"

namespace sluice::jinja {

// The `loop` of a for statement. Takes items only when they are needed, as the condition of a loop may depend on what
// its body does.
class Loop : public Native, public std::enable_shared_from_this<Loop> {
  public:
    using Condition = std::function<bool(const Value&)>;
    using Recursion = std::function<Value(const Value& iterable, int depth)>;

    // `condition` and `recursion` may be empty.
    Loop(const Value& iterable, Condition condition, Recursion recursion, int depth);

    bool advance();  // false behind the last item
    const Value& current() const { return current_; }

    std::string type() const override { return "LoopContext"; }
    std::string repr() const override;
    Value call(const CallArguments& arguments) override;
    std::optional<Value> attribute(std::string_view name) override;
    std::optional<size_t> length() override;
    void drop_references() override;

    Value cycle(const CallArguments& arguments) const;
    Value changed(const CallArguments& arguments);

  private:
    std::optional<Value> pull();
    bool peek();  // whether there is a next item

    ItemSource source_;
    std::optional<size_t> length_;
    Condition condition_;
    Recursion recursion_;
    int depth_;
    int64_t index0_ = -1;
    Value::Items ahead_;  // taken from the source already, but not reached
    size_t ahead_at_ = 0;
    Value previous_;
    Value current_;
    std::optional<Value::Items> last_changed_;
};

}  // namespace sluice::jinja
