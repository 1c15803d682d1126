#include "jinja/value.h"

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

constexpr size_t kObjectBytes = 96;      // of bookkeeping around the contents
constexpr size_t kIndexedFrom = 8;       // entries from which a dict keeps an index
constexpr size_t kItemsPerIndexed = 64;  // what an entry of an index costs, in charge_items

class TextObject : public Object {
  public:
    explicit TextObject(std::string content) : Object(content.size() + kObjectBytes, 0), text(std::move(content)) {}
    const std::string text;
};

int nesting_of(const Value::Items& items) {
    int deepest = 0;
    for (const Value& item : items) deepest = std::max(deepest, item.nesting());
    return deepest + 1;
}

int nesting_of(const Value::Entries& entries) {
    int deepest = 0;
    for (const auto& [key, value] : entries) deepest = std::max({deepest, key.nesting(), value.nesting()});
    return deepest + 1;
}

void require_hashable(const Value& key) {
    const bool mutable_kind = key.is(Kind::kList) || key.is(Kind::kDict) || key.is(Kind::kView);
    if (mutable_kind) raise("unhashable type: '{}'", type_name(key));
    if (key.is(Kind::kTuple)) {
        for (const Value& item : key.items()) require_hashable(item);
    }
}

}  // namespace

Object::Object(size_t bytes, int nesting) : render_(Render::current()), bytes_(0), nesting_(nesting) {
    if (nesting > kMaxNesting) raise("values nested beyond {} levels", kMaxNesting);
    grow(bytes);
}

Object::~Object() {
    if (render_ != nullptr) render_->give_bytes(bytes_);
}

void Object::grow(size_t bytes) {
    if (render_ == nullptr) return;
    charge_copy(bytes);
    render_->take_bytes(bytes);
    bytes_ += bytes;
}

Value Value::undefined(std::string reason) {
    return {Kind::kUndefined, std::make_shared<TextObject>(std::move(reason))};
}

Value Value::none() {
    return {Kind::kNone, nullptr};
}

Value Value::boolean(bool value) {
    Value result(Kind::kBool, nullptr);
    result.integer_ = value ? 1 : 0;
    return result;
}

Value Value::integer(int64_t value) {
    Value result(Kind::kInt, nullptr);
    result.integer_ = value;
    return result;
}

Value Value::big_integer(std::string digits) {
    return {Kind::kBigInt, std::make_shared<TextObject>(std::move(digits))};
}

Value Value::real(double value) {
    Value result(Kind::kFloat, nullptr);
    result.real_ = value;
    return result;
}

Value Value::string(std::string text, bool markup) {
    return string(SourcedText(std::move(text)), markup);
}

Value Value::string(SourcedText text, bool markup) {
    return {Kind::kString, std::make_shared<StringObject>(std::move(text), markup)};
}

Value Value::list(Items items) {
    return {Kind::kList, std::make_shared<SequenceObject>(std::move(items), nullptr)};
}

Value Value::tuple(Items items) {
    return {Kind::kTuple, std::make_shared<SequenceObject>(std::move(items), nullptr)};
}

Value Value::group(Value grouper, Value members) {
    Items pair{std::move(grouper), std::move(members)};
    return {Kind::kTuple, std::make_shared<SequenceObject>(std::move(pair), "group")};
}

Value Value::view(const char* type, Items items) {
    return {Kind::kView, std::make_shared<SequenceObject>(std::move(items), type)};
}

Value Value::dict(Entries entries) {
    return {Kind::kDict, std::make_shared<DictObject>(std::move(entries))};
}

Value Value::range(const RangeBounds& bounds, int64_t count) {
    return {Kind::kRange, std::make_shared<RangeObject>(bounds, count)};
}

Value Value::iterator(const char* function, Items items) {
    return {Kind::kIterator, std::make_shared<IteratorObject>(std::move(items), function)};
}

Value Value::new_namespace(Entries entries) {
    auto object = std::make_shared<NamespaceObject>(std::move(entries));
    if (Render* render = Render::current()) render->keep(object);
    return {Kind::kNamespace, std::move(object)};
}

Value Value::native(std::shared_ptr<Native> object) {
    return {Kind::kNative, std::move(object)};
}

const StringObject& Value::as_string() const {
    return static_cast<const StringObject&>(*object_);
}
const std::string& Value::text() const {
    return as_string().text;
}
const SourcedText& Value::source() const {
    return as_string().source;
}
const std::string& Value::digits() const {
    return static_cast<const TextObject&>(*object_).text;
}
const Value::Items& Value::items() const {
    return sequence().items;
}
const SequenceObject& Value::sequence() const {
    return static_cast<const SequenceObject&>(*object_);
}
const DictObject& Value::as_dict() const {
    return static_cast<const DictObject&>(*object_);
}
const RangeObject& Value::as_range() const {
    return static_cast<const RangeObject&>(*object_);
}
IteratorObject& Value::as_iterator() const {
    return static_cast<IteratorObject&>(*object_);
}
NamespaceObject& Value::as_namespace() const {
    return static_cast<NamespaceObject&>(*object_);
}
Native& Value::as_native() const {
    return static_cast<Native&>(*object_);
}

const std::string& Value::reason() const {
    static const std::string unknown = "the value is undefined";
    return object_ ? static_cast<const TextObject&>(*object_).text : unknown;
}

StringObject::StringObject(SourcedText content, bool is_markup)
    : Object(content.bytes() + kObjectBytes, 0),
      source(std::move(content)),
      text(source.text()),
      length(count_code_points(text)),
      markup(is_markup) {}

SequenceObject::SequenceObject(Value::Items given, const char* type_of_view)
    : Object(given.size() * sizeof(Value) + kObjectBytes, nesting_of(given)),
      items(std::move(given)),
      type(type_of_view) {}

DictObject::DictObject(Value::Entries given)
    : Object(given.size() * 2 * sizeof(Value) + kObjectBytes, nesting_of(given)) {
    const bool indexed = given.size() >= kIndexedFrom;
    if (indexed) charge_items(given.size() * kItemsPerIndexed);
    entries_.reserve(given.size());
    for (auto& [key, value] : given) {
        require_hashable(key);
        if (const std::optional<size_t> at = place(key)) {
            entries_[*at].second = std::move(value);
            continue;
        }
        if (indexed && key.is_string()) strings_.emplace(key.text(), entries_.size());
        entries_.emplace_back(std::move(key), std::move(value));
    }
}

std::optional<size_t> DictObject::place(const Value& key) const {
    if (key.is_string() && !strings_.empty()) {
        const auto found = strings_.find(key.text());
        if (found == strings_.end()) return std::nullopt;
        return found->second;
    }
    charge_items(entries_.size());
    for (size_t i = 0; i < entries_.size(); ++i) {
        if (equal(entries_[i].first, key)) return i;
    }
    return std::nullopt;
}

const Value* DictObject::find(const Value& key) const {
    require_hashable(key);
    const std::optional<size_t> at = place(key);
    return at ? &entries_[*at].second : nullptr;
}

const Value* DictObject::find(std::string_view key) const {
    if (!strings_.empty()) {
        const auto found = strings_.find(key);
        return found == strings_.end() ? nullptr : &entries_[found->second].second;
    }
    for (const auto& [name, value] : entries_) {
        if (name.is_string() && name.text() == key) return &value;
    }
    return nullptr;
}

RangeObject::RangeObject(const RangeBounds& bounds, int64_t length)
    : Object(kObjectBytes, 1), start(bounds.start), stop(bounds.stop), step(bounds.step), count(length) {}

IteratorObject::IteratorObject(Value::Items items, const char* name)
    : Object(items.size() * sizeof(Value) + kObjectBytes, nesting_of(items)),
      function(name),
      items_(std::move(items)) {}

std::optional<Value> IteratorObject::next() {
    if (at_ == items_.size()) return std::nullopt;
    return items_[at_++];
}

NamespaceObject::NamespaceObject(Value::Entries entries)
    // Kept by the rendering until its end, so chains of namespaces need no bound.
    : Object(entries.size() * 2 * sizeof(Value) + kObjectBytes, 0), entries_(std::move(entries)) {}

const Value* NamespaceObject::find(std::string_view name) const {
    for (const auto& [key, value] : entries_) {
        if (key.is_string() && key.text() == name) return &value;
    }
    return nullptr;
}

void NamespaceObject::set(std::string_view name, Value value) {
    charge_items(entries_.size());
    for (auto& [key, held] : entries_) {
        if (key.is_string() && key.text() == name) {
            held = std::move(value);
            return;
        }
    }
    grow(2 * sizeof(Value));
    entries_.emplace_back(Value::string(std::string(name)), std::move(value));
}

Value Native::call(const CallArguments&) {
    raise("'{}' object is not callable", type());
}

std::optional<Value> Native::attribute(std::string_view) {
    return std::nullopt;
}

std::string type_name(const Value& value) {
    switch (value.kind()) {
        case Kind::kUndefined:
            return "Undefined";
        case Kind::kNone:
            return "NoneType";
        case Kind::kBool:
            return "bool";
        case Kind::kInt:
        case Kind::kBigInt:
            return "int";
        case Kind::kFloat:
            return "float";
        case Kind::kString:
            return value.as_string().markup ? "Markup" : "str";
        case Kind::kList:
            return "list";
        case Kind::kTuple:
            return "tuple";
        case Kind::kView:
            return value.sequence().type;
        case Kind::kDict:
            return "dict";
        case Kind::kRange:
            return "range";
        case Kind::kIterator:
            return "generator";
        case Kind::kNamespace:
            return "Namespace";
        case Kind::kNative:
            return value.as_native().type();
    }
    return "object";
}

}  // namespace sluice::jinja
