#include "jinja/loop.h"

#include <fmt/core.h>

#include "jinja/failure.h"
#include "jinja/render.h"

namespace sluice::jinja {

namespace {

class LoopMethod : public Native {
  public:
    using Function = Value (*)(Loop&, const CallArguments&);
    LoopMethod(std::shared_ptr<Loop> loop, Function function)
        : Native(sizeof(LoopMethod), loop->nesting() + 1), loop_(std::move(loop)), function_(function) {}
    std::string type() const override { return "method"; }
    std::string repr() const override { return "<bound method of LoopContext>"; }
    Value call(const CallArguments& arguments) override { return function_(*loop_, arguments); }

  private:
    std::shared_ptr<Loop> loop_;
    Function function_;
};

}  // namespace

Loop::Loop(const Value& iterable, Condition condition, Recursion recursion, int depth)
    : Native(sizeof(Loop), iterable.nesting() + 1),
      source_(iterable),
      condition_(std::move(condition)),
      recursion_(std::move(recursion)),
      depth_(depth) {
    if (!condition_ && has_length(iterable)) length_ = jinja::length(iterable);
}

std::optional<Value> Loop::pull() {
    while (std::optional<Value> item = source_.next()) {
        if (!condition_ || condition_(*item)) return item;
    }
    return std::nullopt;
}

bool Loop::peek() {
    if (ahead_at_ < ahead_.size()) return true;
    std::optional<Value> item = pull();
    if (!item) return false;
    ahead_.assign(1, *std::move(item));
    ahead_at_ = 0;
    return true;
}

bool Loop::advance() {
    if (!peek()) return false;
    ++index0_;
    previous_ = std::exchange(current_, std::move(ahead_[ahead_at_++]));
    return true;
}

std::optional<size_t> Loop::length() {
    if (length_) return length_;
    Value::Items rest(std::make_move_iterator(ahead_.begin() + static_cast<std::ptrdiff_t>(ahead_at_)),
                      std::make_move_iterator(ahead_.end()));
    while (std::optional<Value> item = pull()) rest.push_back(*std::move(item));
    ahead_ = std::move(rest);
    ahead_at_ = 0;
    grow(ahead_.size() * sizeof(Value));
    length_ = ahead_.size() + static_cast<size_t>(index0_ + 1);
    return length_;
}

std::string Loop::repr() const {
    return fmt::format("<LoopContext {}/{}>", index0_ + 1, length_ ? std::to_string(*length_) : "?");
}

Value Loop::call(const CallArguments& arguments) {
    if (!recursion_) raise("The loop must have the 'recursive' marker to be called recursively.");
    if (arguments.positional.size() != 1 || !arguments.keywords.empty()) raise("loop() takes one argument");
    return recursion_(arguments.positional[0], depth_ + 1);
}

Value Loop::cycle(const CallArguments& arguments) const {
    if (arguments.positional.empty()) raise("no items for cycling given");
    return arguments.positional[static_cast<size_t>(index0_) % arguments.positional.size()];
}

Value Loop::changed(const CallArguments& arguments) {
    if (last_changed_ && equal(Value::tuple(*last_changed_), Value::tuple(arguments.positional))) {
        return Value::boolean(false);
    }
    // What it is asked about may be, or hold, this very loop.
    if (Render* render = Render::current(); render != nullptr && !last_changed_) render->keep(shared_from_this());
    last_changed_ = arguments.positional;
    return Value::boolean(true);
}

void Loop::drop_references() {
    last_changed_.reset();
    condition_ = nullptr;
    recursion_ = nullptr;
}

std::optional<Value> Loop::attribute(std::string_view name) {
    if (name == "index") return Value::integer(index0_ + 1);
    if (name == "index0") return Value::integer(index0_);
    if (name == "first") return Value::boolean(index0_ == 0);
    if (name == "last") return Value::boolean(!peek());
    if (name == "depth") return Value::integer(depth_ + 1);
    if (name == "depth0") return Value::integer(depth_);
    if (name == "previtem") return index0_ == 0 ? Value::undefined("there is no previous item") : previous_;
    if (name == "nextitem") return peek() ? ahead_[ahead_at_] : Value::undefined("there is no next item");
    if (name == "cycle") {
        return Value::native(std::make_shared<LoopMethod>(
            shared_from_this(), [](Loop& loop, const CallArguments& given) { return loop.cycle(given); }));
    }
    if (name == "changed") {
        return Value::native(std::make_shared<LoopMethod>(
            shared_from_this(), [](Loop& loop, const CallArguments& given) { return loop.changed(given); }));
    }
    if (name != "length" && name != "revindex" && name != "revindex0") return std::nullopt;
    const auto count = static_cast<int64_t>(*length());
    if (name == "length") return Value::integer(count);
    return Value::integer(count - index0_ - (name == "revindex" ? 0 : 1));
}

}  // namespace sluice::jinja
