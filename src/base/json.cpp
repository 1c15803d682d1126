#include "base/json.h"

#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json_events.h"
#include "base/stand_in.h"

namespace sluice {

namespace {

constexpr uint64_t kFreeValues = 65536;

// Makes the tree, and counts while it does: a text of brackets alone would take fifty times its own size.
template <typename Json>
class TreeBuilder : public JsonEvents {
  public:
    TreeBuilder(std::string_view text, const std::string& label, const JsonLimits& limits)
        : text_(text),
          label_(label),
          limits_(limits),
          values_left_(kFreeValues + text.size() / limits.bytes_per_value) {}

    Json take() { return std::move(root_); }

    bool null() override { return add(Json(nullptr)); }
    bool boolean(bool value) override { return add(Json(value)); }
    bool number_integer(int64_t value) override { return add(Json(value)); }
    bool number_unsigned(uint64_t value) override { return add(Json(value)); }
    bool number_float(double value, const std::string&) override { return add(Json(value)); }
    bool string(std::string& value) override { return add(Json(std::move(value))); }
    bool binary(binary_t&) override { return false; }
    bool start_object(size_t) override { return open(Json::object()); }
    bool start_array(size_t) override { return open(Json::array()); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        key_ = std::move(name);
        return true;
    }
    bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
        fail(ErrorCode::kInvalidFile, "{}: {}", label_, json_error_text(text_, position, error));
    }

  private:
    static constexpr bool kOrdered = std::is_same_v<Json, nlohmann::ordered_json>;
    using Members = std::vector<typename nlohmann::ordered_json::object_t::value_type>;

    Json* place(Json&& value) {
        if (values_left_-- == 0) {
            fail(ErrorCode::kInvalidFile, "{}: holds more values than a file of its size should", label_);
        }
        if (open_.empty()) return &(root_ = std::move(value));
        if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
        return member(*open_.back(), std::move(value));
    }

    // An ordered object finds a member by looking at all of them: here they are appended, and those of one name are
    // brought together when the object ends, so that many members take no quadratic time.
    Json* member(Json& object, Json&& value) {
        if constexpr (kOrdered) {
            Members& members = object.template get_ref<typename Json::object_t&>();
            return &members.emplace_back(std::move(key_), std::move(value)).second;
        } else {
            return &(object[key_] = std::move(value));
        }
    }

    // The place of the first, the value of the last.
    static void merge_members(typename Json::object_t& object) {
        Members& members = object;
        std::unordered_map<std::string_view, size_t> last;
        for (size_t i = 0; i < members.size(); ++i) last[members[i].first] = i;
        if (last.size() == members.size()) return;
        typename Json::object_t merged;
        for (const auto& [name, ignored] : members) {
            const auto at = last.find(name);
            if (at == last.end()) continue;
            static_cast<Members&>(merged).emplace_back(name, std::move(members[at->second].second));
            last.erase(at);
        }
        object = std::move(merged);
    }

    bool add(Json&& value) {
        place(std::move(value));
        return true;
    }

    bool open(Json&& container) {
        if (open_.size() == limits_.depth) {
            fail(ErrorCode::kInvalidFile, "{}: nested deeper than {} levels", label_, limits_.depth);
        }
        open_.push_back(place(std::move(container)));
        return true;
    }

    bool close() {
        if constexpr (kOrdered) {
            if (open_.back()->is_object()) merge_members(open_.back()->template get_ref<typename Json::object_t&>());
        }
        open_.pop_back();
        return true;
    }

    std::string_view text_;
    const std::string& label_;
    const JsonLimits& limits_;
    uint64_t values_left_;
    Json root_;
    std::string key_;
    std::vector<Json*> open_;  // the containers being filled, outermost first
};

template <typename Json>
Json parse(std::string_view text, const std::string& label, const JsonLimits& limits) {
    if (text.size() > limits.bytes) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes of JSON; the limit is {}", label, text.size(), limits.bytes);
    }
    TreeBuilder<Json> builder(text, label, limits);
    read_json_events(text, builder);
    return builder.take();
}

}  // namespace

void read_json_events(std::string_view text, JsonEvents& events) {
    nlohmann::json::sax_parse(text.data(), text.data() + text.size(), &events);
}

std::string json_error_text(std::string_view text, size_t position, const nlohmann::detail::exception& error) {
    if (text.empty()) return "not valid JSON: there is nothing in it";
    if (std::string stand_in = stand_in_text(text, "JSON"); !stand_in.empty()) return stand_in;
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ...": without the library's name.
    std::string_view what = error.what();
    if (const size_t end = what.find("] "); end != std::string_view::npos) what.remove_prefix(end + 2);
    constexpr size_t kLongest = 200;
    std::string line = fmt::format("not valid JSON at byte {}: {}", position, what.substr(0, kLongest));
    for (char& c : line) {
        if (c < 0x20 || c == 0x7F) c = '?';
    }
    return line;
}

std::string without_non_finite(std::string text) {
    constexpr std::string_view kNames[] = {"-Infinity", "Infinity", "NaN"};
    constexpr std::string_view kNull = "null";
    bool quoted = false;
    for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '"') quoted = !quoted;
        if (quoted && text[at] == '\\') ++at;
        if (quoted) continue;
        for (const std::string_view name : kNames) {
            if (std::string_view(text).substr(at, name.size()) == name) text.replace(at, name.size(), kNull);
        }
    }
    return text;
}

nlohmann::json parse_json(std::string_view text, const std::string& label, const JsonLimits& limits) {
    return parse<nlohmann::json>(text, label, limits);
}

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& label, const JsonLimits& limits) {
    return parse<nlohmann::ordered_json>(text, label, limits);
}

nlohmann::json read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
    return parse<nlohmann::json>(read_text_file(path, limits.bytes), path.string(), limits);
}

nlohmann::ordered_json read_ordered_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
    return parse<nlohmann::ordered_json>(read_text_file(path, limits.bytes), path.string(), limits);
}

}  // namespace sluice
