#include "jinja/json.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json_events.h"
#include "jinja/failure.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

constexpr size_t kMostPerByte = 6;  // that a JSON string takes for a byte of its text

class Writer {
  public:
    explicit Writer(const JsonStyle& style) : style_(style) {}

    void write(const Value& value) {
        const Nested nested;
        charge_items(1);
        require_room(out_.size());
        switch (value.kind()) {
            case Kind::kNone:
                out_ += "null";
                break;
            case Kind::kBool:
                out_ += value.as_bool() ? "true" : "false";
                break;
            case Kind::kInt:
                out_ += std::to_string(value.as_int());
                break;
            case Kind::kBigInt:
                out_ += value.digits();
                break;
            case Kind::kFloat:
                out_ += number(value.as_real());
                break;
            case Kind::kString:
                write_string(value.text());
                break;
            case Kind::kList:
            case Kind::kTuple:
                write_list(value.items());
                break;
            case Kind::kDict:
                write_dict(value.as_dict());
                break;
            default:
                raise("Object of type {} is not JSON serializable", type_name(value));
        }
    }

    std::string take() { return std::move(out_); }

  private:
    static std::string number(double value) {
        if (std::isnan(value)) return "NaN";
        if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
        return float_text(value);
    }

    void write_string(std::string_view text) {
        charge_items(text.size());
        require_room(out_.size() + kMostPerByte * text.size());
        out_ += '"';
        for (size_t at = 0; at < text.size();) {
            const size_t begin = at;
            while (at < text.size() && is_plain(text[at])) ++at;
            out_ += text.substr(begin, at - begin);
            if (at < text.size()) write_character(text, at);
        }
        out_ += '"';
    }

    // ASCII that stands for itself.
    static bool is_plain(char byte) { return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\'; }

    void write_character(std::string_view text, size_t& at) {
        const size_t begin = at;
        const char32_t point = next_code_point(text, at);
        switch (point) {
            case U'"':
                out_ += "\\\"";
                break;
            case U'\\':
                out_ += "\\\\";
                break;
            case U'\n':
                out_ += "\\n";
                break;
            case U'\r':
                out_ += "\\r";
                break;
            case U'\t':
                out_ += "\\t";
                break;
            case U'\f':
                out_ += "\\f";
                break;
            case U'\b':
                out_ += "\\b";
                break;
            default:
                if (point < 0x20 || (style_.ensure_ascii && point > 0x7E)) {
                    write_escape(point);
                } else {
                    out_ += text.substr(begin, at - begin);
                }
        }
    }

    void write_escape(char32_t point) {
        auto code = static_cast<uint32_t>(point);
        if (code >= 0x10000) {
            code -= 0x10000;
            out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF));
        } else {
            out_ += fmt::format("\\u{:04x}", code);
        }
    }

    void write_list(const Value::Items& items) {
        if (items.empty()) {
            out_ += "[]";
            return;
        }
        out_ += '[';
        ++level_;
        for (size_t i = 0; i < items.size(); ++i) {
            if (i > 0) out_ += style_.item_separator;
            break_line();
            write(items[i]);
        }
        --level_;
        break_line();
        out_ += ']';
    }

    void write_dict(const DictObject& dict) {
        if (dict.entries().empty()) {
            out_ += "{}";
            return;
        }
        Value::Entries entries = dict.entries();
        if (style_.sort_keys) {
            std::stable_sort(entries.begin(), entries.end(),
                             [](const auto& left, const auto& right) { return less(left.first, right.first); });
        }
        out_ += '{';
        ++level_;
        bool first = true;
        for (const auto& [key, value] : entries) {
            if (!first) out_ += style_.item_separator;
            first = false;
            break_line();
            write_string(key_text(key));
            out_ += style_.key_separator;
            write(value);
        }
        --level_;
        break_line();
        out_ += '}';
    }

    static std::string key_text(const Value& key) {
        switch (key.kind()) {
            case Kind::kString:
                return key.text();
            case Kind::kNone:
                return "null";
            case Kind::kBool:
                return key.as_bool() ? "true" : "false";
            case Kind::kInt:
                return std::to_string(key.as_int());
            case Kind::kFloat:
                return number(key.as_real());
            default:
                raise("keys must be str, int, float, bool or None, not {}", type_name(key));
        }
    }

    void break_line() {
        if (!style_.indent) return;
        charge_copy(style_.indent->size() * level_);
        require_room(out_.size() + style_.indent->size() * level_);
        out_ += '\n';
        for (size_t i = 0; i < level_; ++i) out_ += *style_.indent;
    }

    const JsonStyle& style_;
    std::string out_;
    size_t level_ = 0;
};

// Builds values while nlohmann's parser reads, so that nothing is held twice and no digit is lost.
class Builder : public JsonEvents {
  public:
    Value take() { return std::move(result_); }

    bool null() override { return add(Value::none()); }
    bool boolean(bool value) override { return add(Value::boolean(value)); }
    bool number_integer(int64_t value) override { return add(Value::integer(value)); }
    bool number_unsigned(uint64_t value) override {
        const bool fits = value <= static_cast<uint64_t>(INT64_MAX);
        return add(fits ? Value::integer(static_cast<int64_t>(value)) : Value::big_integer(std::to_string(value)));
    }
    bool number_float(double value, const std::string& digits) override {
        const bool whole = digits.find_first_of(".eE") == std::string::npos;
        return add(whole ? Value::big_integer(digits) : Value::real(value));
    }
    bool string(std::string& value) override { return add(Value::string(std::move(value))); }
    bool binary(binary_t&) override { return false; }
    bool start_object(size_t) override { return open(); }
    bool start_array(size_t) override { return open(); }
    bool key(std::string& name) override {
        open_.back().keys.push_back(Value::string(std::move(name)));
        return true;
    }
    bool end_array() override {
        Value list = Value::list(std::move(open_.back().values));
        open_.pop_back();
        return add(std::move(list));
    }
    bool end_object() override {
        Value::Entries entries;
        Level& level = open_.back();
        entries.reserve(level.keys.size());
        for (size_t i = 0; i < level.keys.size(); ++i) {
            entries.emplace_back(std::move(level.keys[i]), std::move(level.values[i]));
        }
        open_.pop_back();
        return add(Value::dict(std::move(entries)));
    }
    bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
        std::string what = error.what();
        // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": without the library's name.
        if (const size_t bracket = what.find("] "); bracket != std::string::npos) what.erase(0, bracket + 2);
        raise("at byte {}: {}", position, what);
    }

  private:
    struct Level {
        Value::Items keys;
        Value::Items values;
    };

    bool open() {
        if (open_.size() >= size_t{kMaxNesting}) raise("values nested beyond {} levels", kMaxNesting);
        open_.emplace_back();
        return true;
    }

    bool add(Value value) {
        if (open_.empty()) {
            result_ = std::move(value);
        } else {
            open_.back().values.push_back(std::move(value));
        }
        return true;
    }

    std::vector<Level> open_;
    Value result_;
};

}  // namespace

std::string json_text(const Value& value, const JsonStyle& style) {
    Writer writer(style);
    writer.write(value);
    return writer.take();
}

std::string python_json(const std::string& text) {
    try {
        return json_text(parse_json(text), {});
    } catch (const Failure&) {
        return text;
    }
}

Value parse_json(std::string_view text) {
    Builder builder;
    read_json_events(text, builder);
    return builder.take();
}

}  // namespace sluice::jinja
