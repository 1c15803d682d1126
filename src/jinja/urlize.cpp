#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <set>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"

namespace sluice::jinja {

namespace {

bool ascii_letters(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; });
}

bool all_digits(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

bool within(size_t size, size_t least, size_t most) {
    return size >= least && size <= most;
}

// Of word characters, "%" and, if `hyphens`, "-".
bool host_characters(std::string_view text, bool hyphens) {
    for (size_t at = 0; at < text.size();) {
        const char32_t point = next_code_point(text, at);
        if (!is_word(point) && point != U'%' && !(hyphens && point == U'-')) return false;
    }
    return true;
}

std::vector<std::string_view> split_at(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (size_t end = text.find(separator); end != std::string_view::npos; end = text.find(separator)) {
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    parts.push_back(text);
    return parts;
}

bool drop_prefix(std::string_view& text, std::string_view prefix) {
    const bool has = lower(text.substr(0, prefix.size())) == prefix;
    if (has) text.remove_prefix(prefix.size());
    return has;
}

bool is_top_level(std::string_view label) {
    if (within(label.size(), 2, 63) && ascii_letters(label)) return true;
    return drop_prefix(label, "xn--") && within(count_code_points(label), 2, 59) && host_characters(label, false);
}

// "a.b.example" behind http:// or www.
bool is_host(std::string_view host) {
    const std::vector<std::string_view> labels = split_at(host, '.');
    const auto named = [](std::string_view label) { return !label.empty() && host_characters(label, true); };
    return is_top_level(labels.back()) && std::all_of(labels.begin(), labels.end() - 1, named);
}

// "example.org" with nothing before it: under the old top-level names alone.
bool is_bare_host(std::string_view host) {
    constexpr std::array<std::string_view, 8> kKnown = {"com", "net", "int", "edu", "gov", "org", "info", "mil"};
    const std::vector<std::string_view> labels = split_at(host, '.');
    const auto named = [](std::string_view label) {
        return within(count_code_points(label), 2, 63) && host_characters(label, true);
    };
    return labels.size() > 1 && std::ranges::find(kKnown, lower(labels.back())) != kKnown.end() &&
           std::all_of(labels.begin(), labels.end() - 1, named);
}

bool is_ipv4(std::string_view host) {
    const std::vector<std::string_view> parts = split_at(host, '.');
    const auto number = [](std::string_view part) { return within(part.size(), 1, 3) && all_digits(part); };
    return parts.size() == 4 && std::ranges::all_of(parts, number);
}

// Between brackets: three to eight groups of hexadecimal digits.
bool is_ipv6(std::string_view inner) {
    const std::vector<std::string_view> parts = split_at(inner, ':');
    const auto group = [](std::string_view part) {
        const auto digit = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
        return part.size() <= 4 && std::ranges::all_of(part, digit);
    };
    return within(parts.size(), 3, 9) && (parts.size() < 9 || parts.back().empty()) &&
           std::ranges::all_of(parts, group);
}

// Behind the host: a port, a path; each may be missing.
bool is_rest(std::string_view rest) {
    if (rest.starts_with(':')) {
        rest.remove_prefix(1);
        const size_t digits = std::min(rest.find_first_of("/?#"), rest.size());
        if (!within(digits, 1, 5) || !all_digits(rest.substr(0, digits))) return false;
        rest.remove_prefix(digits);
    }
    return rest.empty() || rest.find_first_of("/?#") == 0;
}

bool is_address(std::string_view word) {
    const bool scheme = drop_prefix(word, "https://") || drop_prefix(word, "http://");
    if (scheme && word.starts_with('[')) {
        const size_t end = word.find(']');
        return end != std::string_view::npos && is_ipv6(word.substr(1, end - 1)) && is_rest(word.substr(end + 1));
    }
    std::string_view host = word.substr(0, word.find_first_of(":/?#"));
    if (!is_rest(word.substr(host.size()))) return false;
    if (scheme) return is_host(host) || is_ipv4(host);
    if (is_bare_host(host)) return true;
    return drop_prefix(host, "www.") && is_host(host);
}

bool is_mail_address(std::string_view word) {
    const size_t at = word.rfind('@');
    if (at == std::string_view::npos || at == 0) return false;
    const std::string_view domain = word.substr(at + 1);
    const size_t dot = domain.rfind('.');
    if (dot == std::string_view::npos || dot == 0 || dot + 1 == domain.size()) return false;
    if (!host_characters(domain.substr(dot + 1), false) || domain.find('%') != std::string_view::npos) return false;
    size_t first = 0;
    if (!is_word(next_code_point(domain, first))) return false;
    return std::ranges::all_of(split_at(domain.substr(0, dot), '.'),
                               [](std::string_view label) { return host_characters(label, true); });
}

size_t occurrences(std::string_view text, std::string_view what) {
    size_t count = 0;
    for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++count;
    return count;
}

// A word as it stands in the text: brackets in front, what may be a link, brackets and stops behind.
struct Word {
    std::string_view head, middle, tail;

    explicit Word(std::string_view word) : middle(word) {
        size_t begin = 0;
        while (begin < word.size()) {
            const std::string_view rest = word.substr(begin);
            const size_t length = rest[0] == '(' || rest[0] == '<' ? 1 : rest.starts_with("&lt;") ? 4 : 0;
            if (length == 0) break;
            begin += length;
        }
        size_t end = word.size();
        while (end > begin) {
            const std::string_view rest = word.substr(begin, end - begin);
            const bool stop = std::string_view(")>.,\n").find(rest.back()) != std::string_view::npos;
            const size_t length = stop ? 1 : rest.ends_with("&gt;") ? 4 : 0;
            if (length == 0) break;
            end -= length;
        }
        head = word.substr(0, begin);
        middle = word.substr(begin, end - begin);
        tail = word.substr(end);
        balance("(", ")");
        balance("<", ">");
        balance("&lt;", "&gt;");
    }

    // An address may have brackets of its own: closing ones go back to it as long as some are open.
    void balance(std::string_view open, std::string_view close) {
        const size_t opened = occurrences(middle, open);
        if (opened <= occurrences(middle, close)) return;
        for (size_t left = std::min(opened, occurrences(tail, close)); left > 0; --left) {
            const size_t length = tail.find(close) + close.size();
            middle = {middle.data(), middle.size() + length};
            tail.remove_prefix(length);
        }
    }
};

struct LinkStyle {
    std::optional<size_t> most_characters;
    std::string attributes;
    std::vector<std::string> schemes;
};

std::string shortened(std::string_view address, const LinkStyle& style) {
    size_t at = 0;
    for (size_t i = 0; style.most_characters && i < *style.most_characters && at < address.size(); ++i) {
        next_code_point(address, at);
    }
    const bool whole = !style.most_characters || at == address.size();
    return whole ? std::string(address) : std::string(address.substr(0, at)) + "...";
}

std::string linked(std::string_view word, const LinkStyle& style) {
    const auto link = [&](std::string_view before, std::string_view text) {
        return fmt::format("<a href=\"{}{}\"{}>{}</a>", before, word, style.attributes, text);
    };
    if (is_address(word)) {
        const bool complete = word.starts_with("https://") || word.starts_with("http://");
        return link(complete ? "" : "https://", shortened(word, style));
    }
    if (word.starts_with("mailto:") && is_mail_address(word.substr(7))) {
        return fmt::format("<a href=\"{}\">{}</a>", word, word.substr(7));
    }
    const bool mail = !word.starts_with("www.") && word.find(':') == std::string_view::npos && is_mail_address(word);
    if (mail) return fmt::format("<a href=\"mailto:{}\">{}</a>", word, word);
    for (const std::string& scheme : style.schemes) {
        if (word != scheme && word.starts_with(scheme)) return link("", word);
    }
    return std::string(word);
}

LinkStyle style_of(const Bound& arguments) {
    LinkStyle style;
    if (!arguments.absent(1))
        style.most_characters = static_cast<size_t>(std::max<int64_t>(arguments.integer(1, 0), 0));
    std::set<std::string> relations = {"noopener"};
    if (arguments.flag(2, false)) relations.insert("nofollow");
    if (!arguments.absent(4)) {
        const std::string given = arguments.text(4, "");
        for (const std::string_view part : split_at(given, ' ')) {
            if (!part.empty()) relations.emplace(part);
        }
    }
    std::string relation;
    for (const std::string& part : relations) relation += (relation.empty() ? "" : " ") + part;
    style.attributes = fmt::format(" rel=\"{}\"", escape_html(relation));
    const std::string target = arguments.absent(3) ? "" : arguments.text(3, "");
    if (!target.empty()) style.attributes += fmt::format(" target=\"{}\"", escape_html(target));
    if (!arguments.absent(5)) {
        for (const Value& scheme : iterate(arguments[5])) style.schemes.push_back(to_text(scheme));
    }
    return style;
}

Value url_ized(const Bound& arguments) {
    const LinkStyle style = style_of(arguments);
    const bool markup = arguments[0].is_string() && arguments[0].as_string().markup;
    const std::string text = markup ? arguments[0].text() : escape_html(TextOf(arguments[0]).get());
    charge_items(4 * text.size());
    std::string out;
    const auto add = [&](std::string_view word) {
        const Word parts(word);
        require_room(out.size() + 3 * word.size());
        out.append(parts.head).append(linked(parts.middle, style)).append(parts.tail);
    };
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
        const size_t before = at;
        if (!is_space(next_code_point(text, at))) continue;
        if (begin < before) add(std::string_view(text).substr(begin, before - begin));
        out.append(text, before, at - before);
        begin = at;
    }
    if (begin < text.size()) add(std::string_view(text).substr(begin));
    return Value::string(std::move(out));
}

constexpr std::array kLinkFilters = std::to_array<Builtin>({
    {"urlize", "value trim_url_limit? nofollow? target? rel? extra_schemes?", url_ized},
});

}  // namespace

std::span<const Builtin> link_filters() {
    return kLinkFilters;
}

}  // namespace sluice::jinja
