#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

// Python's sorted() by keys made beforehand; stable in both directions.
struct Keyed {
    Value key;
    Value item;
};

std::vector<Keyed> sorted(std::vector<Keyed> entries, bool reverse) {
    std::stable_sort(entries.begin(), entries.end(), [reverse](const Keyed& left, const Keyed& right) {
        charge_items(1);
        return reverse ? less(right.key, left.key) : less(left.key, right.key);
    });
    return entries;
}

Value folded(const Value& value, bool case_sensitive) {
    return case_sensitive ? value : ignore_case(value);
}

Value attr(const Bound& arguments) {
    const std::string name = arguments.text(1, "");
    if (arguments[0].is_undefined()) raise("{}", arguments[0].reason());
    if (std::optional<Value> found = find_attribute(arguments[0], name)) return *std::move(found);
    return Value::undefined(fmt::format("'{} object' has no attribute '{}'", type_name(arguments[0]), name));
}

Value batch(const Bound& arguments) {
    const int64_t size = arguments.integer(1, 0);
    Value::Items batches;
    Value::Items current;
    for (Value& item : iterate(arguments[0])) {
        if (static_cast<int64_t>(current.size()) == size) {
            batches.push_back(Value::list(std::exchange(current, {})));
        }
        current.push_back(std::move(item));
    }
    if (!current.empty()) {
        const bool fill = !arguments.absent(2) && static_cast<int64_t>(current.size()) < size;
        if (fill) {
            charge_items(static_cast<size_t>(size));
            require_room(static_cast<size_t>(size) * sizeof(Value));
            current.resize(static_cast<size_t>(size), arguments[2]);
        }
        batches.push_back(Value::list(std::move(current)));
    }
    return Value::iterator("do_batch", std::move(batches));
}

Value slices(const Bound& arguments) {
    const Value::Items items = iterate(arguments[0]);
    const int64_t count = arguments.integer(1, 0);
    if (count == 0) raise("integer division or modulo by zero");
    Value::Items parts;
    const auto size = static_cast<int64_t>(items.size());
    int64_t begin = 0;
    for (int64_t part = 0; part < count; ++part) {
        const bool longer = part < size % count;
        const int64_t end = begin + size / count + (longer ? 1 : 0);
        Value::Items taken(items.begin() + begin, items.begin() + end);
        if (!longer && !arguments.absent(2)) taken.push_back(arguments[2]);
        parts.push_back(Value::list(std::move(taken)));
        begin = end;
    }
    return Value::iterator("sync_do_slice", std::move(parts));
}

Value count(const Bound& arguments) {
    return Value::integer(static_cast<int64_t>(length(arguments[0])));
}

Value default_value(const Bound& arguments) {
    const bool replace = arguments[0].is_undefined() || (arguments.flag(2, false) && !truthy(arguments[0]));
    if (!replace) return arguments[0];
    return arguments.given(1) ? arguments[1] : Value::string("");
}

Value dict_sort(const Bound& arguments) {
    if (!arguments[0].is(Kind::kDict)) raise("dictsort takes a mapping, not '{}'", type_name(arguments[0]));
    const bool case_sensitive = arguments.flag(1, false);
    const std::string by = arguments.text(2, "key");
    if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
    std::vector<Keyed> pairs;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) {
        pairs.push_back({folded(by == "key" ? key : value, case_sensitive), Value::tuple({key, value})});
    }
    Value::Items result;
    for (Keyed& pair : sorted(std::move(pairs), arguments.flag(3, false))) result.push_back(std::move(pair.item));
    return Value::list(std::move(result));
}

Value first(const Bound& arguments) {
    ItemSource source(arguments[0]);
    if (std::optional<Value> item = source.next()) return *std::move(item);
    return Value::undefined("No first item, sequence was empty.");
}

Value last(const Bound& arguments) {
    if (!has_length(arguments[0])) raise("'{}' object is not reversible", type_name(arguments[0]));
    const Value::Items items = iterate(arguments[0]);
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value random_item(const Bound& arguments) {
    if (!has_length(arguments[0])) raise("object of type '{}' has no len()", type_name(arguments[0]));
    const Value::Items items = iterate(arguments[0]);
    if (items.empty()) return Value::undefined("No random item, sequence was empty.");
    std::random_device source;
    return items[std::uniform_int_distribution<size_t>(0, items.size() - 1)(source)];
}

Value group_by(const Bound& arguments) {
    const bool case_sensitive = arguments.flag(3, false);
    const Value fallback = arguments.given(2) ? arguments[2] : Value::none();
    std::vector<Keyed> entries;
    for (Value& item : iterate(arguments[0])) {
        Value key = folded(attribute_path(item, arguments[1], fallback), case_sensitive);
        entries.push_back({std::move(key), std::move(item)});
    }
    entries = sorted(std::move(entries), false);
    Value::Items groups;
    for (size_t begin = 0; begin < entries.size();) {
        Value::Items members;
        size_t end = begin;
        for (; end < entries.size() && equal(entries[end].key, entries[begin].key); ++end) {
            members.push_back(entries[end].item);
        }
        if (end == begin) members.push_back(entries[end++].item);  // a key that does not even equal itself: NaN
        Value key = attribute_path(members.front(), arguments[1], fallback);
        groups.push_back(Value::group(std::move(key), Value::list(std::move(members))));
        begin = end;
    }
    return Value::list(std::move(groups));
}

Value items(const Bound& arguments) {
    if (arguments[0].is_undefined()) return Value::iterator("do_items", {});
    if (!arguments[0].is(Kind::kDict)) raise("Can only get item pairs from a mapping.");
    Value::Items pairs;
    for (const auto& [key, value] : arguments[0].as_dict().entries()) pairs.push_back(Value::tuple({key, value}));
    return Value::iterator("do_items", std::move(pairs));
}

Value joined(const Bound& arguments) {
    const SourceOf separator(arguments.given(1) ? arguments[1] : Value::string(""));
    SourcedText out;
    bool any = false;
    ItemSource source(arguments[0]);
    while (std::optional<Value> item = source.next()) {
        if (!arguments.absent(2)) *item = attribute_path(*item, arguments[2], Value::none());
        const SourceOf text(*item);
        charge_copy(separator.get().bytes() + text.get().bytes());
        require_room(out.bytes() + separator.get().bytes() + text.get().bytes());
        if (std::exchange(any, true)) out.append(separator.get());
        out.append(text.get());
    }
    return Value::string(std::move(out));
}

Value as_list(const Bound& arguments) {
    return Value::list(iterate(arguments[0]));
}

template <bool kLargest>
Value extreme(const Bound& arguments) {
    const bool case_sensitive = arguments.flag(1, false);
    std::optional<Keyed> best;
    ItemSource source(arguments[0]);
    while (std::optional<Value> item = source.next()) {
        const Value attribute = arguments.given(2) ? arguments[2] : Value::none();
        Value key = folded(attribute_path(*item, attribute, Value::none()), case_sensitive);
        const bool better = !best || (kLargest ? less(best->key, key) : less(key, best->key));
        if (better) best = Keyed{std::move(key), *std::move(item)};
    }
    return best ? best->item : Value::undefined("No aggregated item, sequence was empty.");
}

Value reversed(const Bound& arguments) {
    if (arguments[0].is_string()) {
        return slice(arguments[0], Value::none(), Value::none(), Value::integer(-1));
    }
    Value::Items items_of = iterate(arguments[0]);
    std::reverse(items_of.begin(), items_of.end());
    return arguments[0].is(Kind::kIterator) ? Value::list(std::move(items_of))
                                            : Value::iterator("reversed", std::move(items_of));
}

Value sort(const Bound& arguments) {
    const bool case_sensitive = arguments.flag(2, false);
    Value::Items attributes{arguments.given(3) ? arguments[3] : Value::none()};
    if (attributes[0].is_string()) {
        const std::string names = attributes[0].text();
        attributes.clear();
        for (size_t at = 0; at <= names.size();) {
            const size_t comma = std::min(names.find(',', at), names.size());
            attributes.push_back(Value::string(names.substr(at, comma - at)));
            at = comma + 1;
        }
    }
    std::vector<Keyed> entries;
    for (Value& item : iterate(arguments[0])) {
        Value::Items keys;
        for (const Value& attribute : attributes) {
            keys.push_back(folded(attribute_path(item, attribute, Value::none()), case_sensitive));
        }
        entries.push_back({Value::list(std::move(keys)), std::move(item)});
    }
    Value::Items result;
    for (Keyed& entry : sorted(std::move(entries), arguments.flag(1, false))) {
        result.push_back(std::move(entry.item));
    }
    return Value::list(std::move(result));
}

Value sum(const Bound& arguments) {
    Value total = arguments.given(2) ? arguments[2] : Value::integer(0);
    if (total.is_string()) raise("sum() can't sum strings [use ''.join(seq) instead]");
    ItemSource source(arguments[0]);
    while (std::optional<Value> item = source.next()) {
        if (!arguments.absent(1)) *item = attribute_path(*item, arguments[1], Value::none());
        total = calculate(Arithmetic::kAdd, total, *item);
    }
    return total;
}

Value unique(const Bound& arguments) {
    const bool case_sensitive = arguments.flag(1, false);
    const Value attribute = arguments.given(2) ? arguments[2] : Value::none();
    // Each key with the place it was first seen at: a dict keeps the last of equal keys, so they go in backwards.
    const Value::Items all = iterate(arguments[0]);
    Value::Entries places;
    for (size_t i = all.size(); i-- > 0;) {
        Value key = folded(attribute_path(all[i], attribute, Value::none()), case_sensitive);
        places.emplace_back(std::move(key), Value::integer(static_cast<int64_t>(i)));
    }
    const Value first_places = Value::dict(std::move(places));
    std::vector<size_t> kept;
    for (const auto& [key, place] : first_places.as_dict().entries()) {
        kept.push_back(static_cast<size_t>(place.as_int()));
    }
    std::sort(kept.begin(), kept.end());
    Value::Items result;
    for (const size_t place : kept) result.push_back(all[place]);
    return Value::iterator("do_unique", std::move(result));
}

constexpr std::array kItemFilters = std::to_array<Builtin>({
    {"attr", "obj name", attr},
    {"batch", "value linecount fill_with?", batch},
    {"count", "obj", count},
    {"d", "value default_value? boolean?", default_value},
    {"default", "value default_value? boolean?", default_value},
    {"dictsort", "value case_sensitive? by? reverse?", dict_sort},
    {"first", "seq", first},
    {"groupby", "value attribute default? case_sensitive?", group_by},
    {"items", "value", items},
    {"join", "value d? attribute?", joined},
    {"last", "seq", last},
    {"length", "obj", count},
    {"list", "value", as_list},
    {"max", "value case_sensitive? attribute?", extreme<true>},
    {"min", "value case_sensitive? attribute?", extreme<false>},
    {"random", "seq", random_item},
    {"reverse", "value", reversed},
    {"slice", "value slices fill_with?", slices},
    {"sort", "value reverse? case_sensitive? attribute?", sort},
    {"sum", "iterable attribute? start?", sum},
    {"unique", "value case_sensitive? attribute?", unique},
});

}  // namespace

std::span<const Builtin> item_filters() {
    return kItemFilters;
}

Value attribute_path(const Value& item, const Value& attribute, const Value& fallback) {
    if (attribute.is_none()) return item;
    if (!attribute.is_string()) {
        Value found = get_item(item, attribute);
        return found.is_undefined() && !fallback.is_none() ? fallback : found;
    }
    Value current = item;
    const std::string& path = attribute.text();
    for (size_t at = 0; at <= path.size();) {
        const size_t dot = std::min(path.find('.', at), path.size());
        const std::string part = path.substr(at, dot - at);
        const bool index =
            !part.empty() && part.size() < 19 && part.find_first_not_of("0123456789") == std::string::npos;
        current = get_item(current, index ? Value::integer(std::stoll(part)) : Value::string(part));
        if (current.is_undefined() && !fallback.is_none()) current = fallback;
        at = dot + 1;
    }
    return current;
}

Value ignore_case(const Value& value) {
    return value.is_string() ? Value::string(lower(value.text()), value.as_string().markup) : value;
}

}  // namespace sluice::jinja
