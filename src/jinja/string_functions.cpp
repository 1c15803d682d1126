#include "jinja/string_functions.h"

#include <algorithm>

#include "jinja/failure.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

std::string_view strip(std::string_view text, std::string_view characters, bool left, bool right) {
    const std::vector<char32_t> listed = code_points(characters);
    auto drop = [&](char32_t point) {
        if (listed.empty()) return is_space(point);
        return std::find(listed.begin(), listed.end(), point) != listed.end();
    };
    while (left && !text.empty()) {
        size_t at = 0;
        if (!drop(next_code_point(text, at))) break;
        text.remove_prefix(at);
    }
    while (right && !text.empty()) {
        size_t at = text.size();
        if (!drop(previous_code_point(text, at))) break;
        text = text.substr(0, at);
    }
    return text;
}

SourcedText replace(const SourcedText& source, std::string_view old, const SourcedText& with, int64_t count) {
    const std::string_view text = source.text();
    charge_copy(text.size());
    SourcedText out;
    size_t at = 0;
    int64_t done = 0;
    auto append = [&](const SourcedText& of, size_t begin, size_t size) {
        charge_copy(size);
        require_room(out.bytes() + size);
        out.append(of, begin, size);
    };
    while (count < 0 || done < count) {
        if (old.empty()) {
            // Between all characters and at both ends.
            append(with, 0, with.size());
            ++done;
            if (at >= text.size()) return out;
            const size_t begin = at;
            next_code_point(text, at);
            append(source, begin, at - begin);
            continue;
        }
        const size_t found = text.find(old, at);
        if (found == std::string_view::npos) break;
        append(source, at, found - at);
        append(with, 0, with.size());
        at = found + old.size();
        ++done;
    }
    append(source, at, text.size() - at);
    return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string_view> lines;
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
        const size_t before = at;
        const char32_t point = next_code_point(text, at);
        if (!is_line_break(point)) continue;
        if (point == U'\r' && at < text.size() && text[at] == '\n') ++at;
        lines.push_back(text.substr(begin, (keep_ends ? at : before) - begin));
        begin = at;
    }
    if (begin < text.size()) lines.push_back(text.substr(begin));
    return lines;
}

SourcedText join(const SourcedText& separator, const Value& items) {
    SourcedText out;
    size_t index = 0;
    ItemSource source(items);
    while (const std::optional<Value> item = source.next()) {
        if (!item->is_string()) {
            raise("sequence item {}: expected str instance, {} found", index, type_name(*item));
        }
        charge_copy(separator.size() + item->text().size());
        require_room(out.bytes() + separator.bytes() + item->source().bytes());
        if (index++ > 0) out.append(separator);
        out.append(item->source());
    }
    return out;
}

}  // namespace sluice::jinja
