#include <algorithm>
#include <array>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

using Entries = Value::Entries;

// Keys of different types have no order of their own: Python then takes that of the types' names.
bool key_less(const Entries::value_type& left, const Entries::value_type& right) {
    try {
        return less(left.first, right.first);
    } catch (const Failure&) {
        return type_name(left.first) < type_name(right.first);
    }
}

Entries sorted_entries(const Value& dict) {
    Entries entries = dict.as_dict().entries();
    std::stable_sort(entries.begin(), entries.end(), key_less);
    return entries;
}

// Python's pprint.pformat with its defaults: what does not fit 80 columns is spread over lines, an item on each.
class PrettyPrinter {
  public:
    std::string run(const Value& value) {
        format(value, 0, 0, 1);
        return std::move(out_);
    }

  private:
    static constexpr size_t kWidth = 80;

    // The text on one line, dictionaries by their sorted keys.
    static std::string on_one_line(const Value& value) {
        const Nested nested;
        charge_items(1);
        if (value.is(Kind::kDict)) {
            std::string out = "{";
            for (const auto& [key, held] : sorted_entries(value)) {
                if (out.size() > 1) out += ", ";
                out += on_one_line(key) + ": " + on_one_line(held);
            }
            return out + "}";
        }
        if (!value.is(Kind::kList) && !value.is(Kind::kTuple)) return repr(value);
        const bool list = value.is(Kind::kList);
        std::string out = list ? "[" : "(";
        for (const Value& item : value.items()) {
            if (out.size() > 1) out += ", ";
            out += on_one_line(item);
        }
        if (!list && value.items().size() == 1) out += ',';
        return out + (list ? "]" : ")");
    }

    // `indent`: the column where the value begins; `allowance`: columns to leave free behind it; `level`: 1 for the
    // outermost value.
    void format(const Value& value, size_t indent, size_t allowance, int level) {
        const Nested nested;
        const std::string line = on_one_line(value);
        require_room(out_.size() + line.size());
        const bool fits = count_code_points(line) + indent + allowance <= kWidth;
        if (fits) {
            out_ += line;
        } else if (value.is(Kind::kDict)) {
            format_dict(value, indent, allowance, level);
        } else if (value.is(Kind::kList)) {
            format_items(value, indent, allowance + 1, level, {"[", "]"});
        } else if (value.is(Kind::kTuple)) {
            const bool one = value.items().size() == 1;
            format_items(value, indent, allowance + (one ? 2 : 1), level, {"(", one ? ",)" : ")"});
        } else if (value.is_string() && !value.as_string().markup) {
            format_string(value, indent, allowance, level);
        } else {
            out_ += line;
        }
    }

    void next_line(size_t indent) {
        charge_copy(indent);
        out_ += '\n';
        out_.append(indent, ' ');
    }

    void format_dict(const Value& dict, size_t indent, size_t allowance, int level) {
        const Entries entries = sorted_entries(dict);
        out_ += '{';
        for (size_t i = 0; i < entries.size(); ++i) {
            const bool last = i + 1 == entries.size();
            const std::string key = on_one_line(entries[i].first);
            out_ += key + ": ";
            format(entries[i].second, indent + 1 + count_code_points(key) + 2, last ? allowance + 1 : 1, level + 1);
            if (last) break;
            out_ += ',';
            next_line(indent + 1);
        }
        out_ += '}';
    }

    struct Brackets {
        const char* open;
        const char* close;
    };
    void format_items(const Value& sequence, size_t indent, size_t allowance, int level, Brackets brackets) {
        const Value::Items& items = sequence.items();
        out_ += brackets.open;
        for (size_t i = 0; i < items.size(); ++i) {
            const bool last = i + 1 == items.size();
            format(items[i], indent + 1, last ? allowance : 1, level + 1);
            if (last) break;
            out_ += ',';
            next_line(indent + 1);
        }
        out_ += brackets.close;
    }

    // Words with the white space behind them.
    static std::vector<std::string> words_of(std::string_view line) {
        std::vector<std::string> words;
        bool in_space = true;
        for (size_t at = 0; at < line.size();) {
            const size_t before = at;
            const bool space = is_space(next_code_point(line, at));
            if (words.empty() || (in_space && !space)) words.emplace_back();
            words.back() += line.substr(before, at - before);
            in_space = space;
        }
        return words;
    }

    static size_t width_of(const std::string& text) { return count_code_points(repr(Value::string(text))); }

    void format_string(const Value& string, size_t indent, size_t allowance, int level) {
        if (level == 1) {
            ++indent;
            ++allowance;
        }
        const size_t width = kWidth > indent ? kWidth - indent : 0;
        const size_t last_width = width > allowance ? width - allowance : 0;
        const std::vector<std::string_view> views = split_lines(string.text(), true);
        const std::vector<std::string> lines(views.begin(), views.end());
        std::vector<std::string> chunks;
        for (size_t i = 0; i < lines.size(); ++i) {
            const bool last_line = i + 1 == lines.size();
            if (width_of(lines[i]) <= (last_line ? last_width : width)) {
                chunks.push_back(lines[i]);
                continue;
            }
            std::string current;
            const std::vector<std::string> words = words_of(lines[i]);
            for (size_t j = 0; j < words.size(); ++j) {
                const bool last = last_line && j + 1 == words.size();
                charge_items(current.size() + words[j].size());
                if (width_of(current + words[j]) > (last ? last_width : width)) {
                    if (!current.empty()) chunks.push_back(current);
                    current = words[j];
                } else {
                    current += words[j];
                }
            }
            if (!current.empty()) chunks.push_back(current);
        }
        const bool bracketed = level == 1 && chunks.size() > 1;
        if (bracketed) out_ += '(';
        for (size_t i = 0; i < chunks.size(); ++i) {
            if (i > 0) next_line(indent);
            out_ += repr(Value::string(chunks[i]));
        }
        if (bracketed) out_ += ')';
    }

    std::string out_;
};

Value pretty_printed(const Bound& arguments) {
    return Value::string(PrettyPrinter().run(arguments[0]));
}

constexpr std::array kPrintFilters = std::to_array<Builtin>({
    {"pprint", "value", pretty_printed},
});

}  // namespace

std::span<const Builtin> print_filters() {
    return kPrintFilters;
}

}  // namespace sluice::jinja
