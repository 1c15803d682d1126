#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

#include "jinja/builtin.h"
#include "jinja/failure.h"
#include "jinja/operations.h"

namespace sluice::jinja {

namespace {

constexpr int64_t kMaxRange = 100'000;

class Function : public Native {
  public:
    explicit Function(const Builtin& function) : Native(sizeof(Function), 0), function_(function) {}
    std::string type() const override { return "function"; }
    std::string repr() const override { return fmt::format("<function {}>", function_.name); }
    Value call(const CallArguments& arguments) override { return function_.run(bind(function_, nullptr, arguments)); }

  private:
    const Builtin& function_;
};

int deepest_of(const Value::Items& items) {
    int deepest = 0;
    for (const Value& item : items) deepest = std::max(deepest, item.nesting());
    return deepest;
}

class Cycler : public Native, public std::enable_shared_from_this<Cycler> {
  public:
    explicit Cycler(Value::Items items)
        : Native(sizeof(Cycler) + items.size() * sizeof(Value), deepest_of(items) + 1), items_(std::move(items)) {}
    std::string type() const override { return "Cycler"; }
    std::string repr() const override { return "<jinja2.utils.Cycler object>"; }
    bool callable() const override { return false; }
    std::optional<Value> attribute(std::string_view name) override;
    const Value& current() const { return items_[at_]; }
    void advance() { at_ = (at_ + 1) % items_.size(); }
    void reset() { at_ = 0; }

  private:
    Value::Items items_;
    size_t at_ = 0;
};

class CyclerMethod : public Native {
  public:
    CyclerMethod(std::shared_ptr<Cycler> cycler, bool resets)
        : Native(sizeof(CyclerMethod), cycler->nesting() + 1), cycler_(std::move(cycler)), resets_(resets) {}
    std::string type() const override { return "method"; }
    std::string repr() const override { return "<bound method of Cycler>"; }
    Value call(const CallArguments&) override {
        if (resets_) {
            cycler_->reset();
            return Value::none();
        }
        Value current = cycler_->current();
        cycler_->advance();
        return current;
    }

  private:
    std::shared_ptr<Cycler> cycler_;
    bool resets_;
};

std::optional<Value> Cycler::attribute(std::string_view name) {
    if (name == "current") return current();
    if (name == "next") return Value::native(std::make_shared<CyclerMethod>(shared_from_this(), false));
    if (name == "reset") return Value::native(std::make_shared<CyclerMethod>(shared_from_this(), true));
    return std::nullopt;
}

class Joiner : public Native {
  public:
    explicit Joiner(Value separator)
        : Native(sizeof(Joiner), separator.nesting() + 1), separator_(std::move(separator)) {}
    std::string type() const override { return "Joiner"; }
    std::string repr() const override { return "<jinja2.utils.Joiner object>"; }
    Value call(const CallArguments&) override { return std::exchange(used_, true) ? separator_ : Value::string(""); }

  private:
    Value separator_;
    bool used_ = false;
};

Value range(const Bound& arguments) {
    const bool one = !arguments.given(1);
    const int64_t start = one ? 0 : arguments.integer(0, 0);
    const int64_t stop = one ? arguments.integer(0, 0) : arguments.integer(1, 0);
    const int64_t step = arguments.integer(2, 1);
    if (step == 0) raise("range() arg 3 must not be zero");
    uint64_t count = 0;
    // Unsigned differences and magnitudes cannot overflow.
    if (step > 0 && start < stop) {
        const uint64_t distance = static_cast<uint64_t>(stop) - static_cast<uint64_t>(start);
        count = (distance - 1) / static_cast<uint64_t>(step) + 1;
    } else if (step < 0 && start > stop) {
        const uint64_t distance = static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
        count = (distance - 1) / (0 - static_cast<uint64_t>(step)) + 1;
    }
    if (count > static_cast<uint64_t>(kMaxRange)) {
        raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
    }
    return Value::range({start, stop, step}, static_cast<int64_t>(count));
}

Value::Entries dict_entries(const Bound& arguments) {
    Value::Entries entries;
    if (arguments.given(0)) {
        if (arguments[0].is(Kind::kDict)) {
            entries = arguments[0].as_dict().entries();
        } else {
            for (const Value& pair : iterate(arguments[0])) {
                Value::Items parts = iterate(pair);
                if (parts.size() != 2) raise("dict() takes pairs; an element has length {}", parts.size());
                entries.emplace_back(std::move(parts[0]), std::move(parts[1]));
            }
        }
    }
    for (const auto& [name, value] : arguments.keywords()) entries.emplace_back(Value::string(name), value);
    return entries;
}

Value new_dict(const Bound& arguments) {
    return Value::dict(dict_entries(arguments));
}

Value new_namespace(const Bound& arguments) {
    return Value::new_namespace(Value::dict(dict_entries(arguments)).as_dict().entries());
}

Value new_cycler(const Bound& arguments) {
    if (arguments.rest().empty()) raise("at least one item has to be provided");
    return Value::native(std::make_shared<Cycler>(arguments.rest()));
}

Value new_joiner(const Bound& arguments) {
    return Value::native(std::make_shared<Joiner>(arguments.given(0) ? arguments[0] : Value::string(", ")));
}

Value raise_exception(const Bound& arguments) {
    throw Raised(to_text(arguments[0]));
}

Value strftime_now(const Bound& arguments) {
    const std::string format = arguments.text(0, "");
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm local{};
    localtime_r(&now, &local);
    // A leading space tells an empty result from a buffer that is too small.
    const std::string padded = " " + format;
    for (std::string buffer(256, '\0'); buffer.size() < (size_t{1} << 20); buffer.resize(buffer.size() * 4)) {
        const size_t length = std::strftime(buffer.data(), buffer.size(), padded.c_str(), &local);
        if (length > 0) return Value::string(buffer.substr(1, length - 1));
    }
    raise("strftime_now: the format '{}' makes too long a text", format.substr(0, 40));
}

constexpr std::array kFunctions = std::to_array<Builtin>({
    {"cycler", "*", new_cycler},
    {"dict", "iterable? **", new_dict},
    {"joiner", "sep?", new_joiner},
    {"namespace", "iterable? **", new_namespace},
    {"raise_exception", "message", raise_exception},
    {"range", "start stop? step?", range},
    {"strftime_now", "format", strftime_now},
});

}  // namespace

Value global_function(std::string_view name) {
    const Builtin* function = find_in(kFunctions, name);
    if (function == nullptr) return Value::undefined(fmt::format("'{}' is undefined", name));
    return Value::native(std::make_shared<Function>(*function));
}

}  // namespace sluice::jinja
