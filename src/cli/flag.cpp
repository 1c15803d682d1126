#include "cli/flag.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "base/size.h"

namespace sluice::cli {

namespace {

// Nothing where the text is not one number.
template <typename Number>
std::optional<Number> read_number(const std::string& text) {
    const char* begin = text.c_str() + (!text.empty() && text.front() == '+' ? 1 : 0);
    const char* const end = text.c_str() + text.size();
    Number number{};
    const auto [stop, error] = std::from_chars(begin, end, number);
    return error == std::errc() && stop == end ? std::optional<Number>(number) : std::nullopt;
}

template <typename Number>
Flag ranged_flag(std::string names, Number& target, std::string help, Number low, Number high, const char* kind) {
    return {.names = std::move(names),
            .help = std::move(help),
            .value = "N",
            .take = [&target, low, high, kind](const std::string& text) {
                const std::optional<Number> number = read_number<Number>(text);
                if (!number || !std::isfinite(static_cast<double>(*number)) || *number < low || *number > high)
                    return fmt::format("\"{}\" is not a {} from {} to {}", text, kind, low, high);
                target = *number;
                return std::string();
            }};
}

template <typename Options, size_t kCount>
const Option<Options>* find(const Option<Options> (&options)[kCount], std::string_view name) {
    for (const Option<Options>& option : options) {
        if (option.name == name) return &option;
    }
    return nullptr;
}

// The flag of a field of any table; empty where there is none.
std::string flag_of(std::string_view field) {
    if (const auto* option = find(kEngineOptions, field)) return flag_name(*option);
    if (const auto* option = find(kSamplingOptions, field)) return flag_name(*option);
    if (const auto* option = find(kGenerationOptions, field)) return flag_name(*option);
    if (const auto* option = find(kPackOptions, field)) return flag_name(*option);
    if (const auto* option = find(kSynthOptions, field)) return flag_name(*option);
    return field == "read_bytes" ? "--read-size" : "";  // an argument of measure_disk()
}

}  // namespace

Flag switch_flag(std::string names, bool& on, std::string help) {
    return {.names = std::move(names), .help = std::move(help), .take = [&on](const std::string&) {
                on = true;
                return std::string();
            }};
}

Flag text_flag(std::string names, std::string& text, std::string help, std::string value) {
    return {.names = std::move(names),
            .help = std::move(help),
            .value = std::move(value),
            .take = [&text](const std::string& given) {
                text = given;
                return std::string();
            }};
}

Flag count_flag(std::string names, int64_t& count, std::string help, int64_t low, int64_t high) {
    return ranged_flag(std::move(names), count, std::move(help), low, high, "whole number");
}

Flag number_flag(std::string names, double& number, std::string help, double low, double high) {
    return ranged_flag(std::move(names), number, std::move(help), low, high, "number");
}

Flag size_flag(std::string names, uint64_t& bytes, std::string help) {
    return {
        .names = std::move(names), .help = std::move(help), .value = "SIZE", .take = [&bytes](const std::string& text) {
            const std::optional<uint64_t> size = read_size(text);
            if (!size) return fmt::format("\"{}\" {}", text, kNoSize);
            if (*size == 0) return std::string("must be more than nothing");
            bytes = *size;
            return std::string();
        }};
}

Flag argument(std::string name, std::string& text, std::string help, bool required) {
    return {.names = std::move(name),
            .help = std::move(help),
            .take =
                [&text](const std::string& given) {
                    text = given;
                    return std::string(given.empty() ? "is empty; name a file or a folder" : "");
                },
            .required = required};
}

Flag flag_detail::option_flag(std::string name, char letter, std::string_view help, std::string_view choices,
                              std::string_view otherwise) {
    Flag flag;
    flag.names = std::move(name);
    if (letter != 0) flag.names += fmt::format(",-{}", letter);
    flag.help = help;
    if (!choices.empty()) flag.help += fmt::format(": {}", choices);
    if (!otherwise.empty()) flag.help += fmt::format("; default: {}", otherwise);
    return flag;
}

std::string with_flags(std::string_view message) {
    std::string text;
    while (!message.empty()) {
        const size_t open = message.find('`');
        const size_t close = open == std::string_view::npos ? open : message.find('`', open + 1);
        if (close == std::string_view::npos) break;
        const std::string flag = flag_of(message.substr(open + 1, close - open - 1));
        // What is no field, such as a command to run, stays as it is, and its end may begin another.
        const size_t taken = flag.empty() ? close : close + 1;
        text += message.substr(0, flag.empty() ? close : open);
        text += flag;
        message.remove_prefix(taken);
    }
    return text.append(message);
}

}  // namespace sluice::cli
