#include "sluice/option_table.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/size.h"

namespace sluice {

namespace {

std::string quoted(std::string_view text, std::string_view problem) {
    return fmt::format("\"{}\" {}", text, problem);
}

// Nothing where the text is not a number as a whole.
template <typename Number>
std::optional<Number> read_number(std::string_view text) {
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    Number number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

struct Range {
    double low, high;
    bool above_low;

    bool holds(double number) const {
        const bool high_enough = above_low ? number > low : number >= low;
        return std::isfinite(number) && high_enough && (high == 0 || number <= high);
    }
    std::string text() const {
        const std::string begin = fmt::format("{} {}", above_low ? "above" : "from", low);
        if (high == 0) return begin + " on";
        return fmt::format("{}{} {}", begin, above_low ? ", at most" : " to", high);
    }
    // "is not a number from 0 to 1"
    template <typename Number>
    std::string refusal() const {
        return fmt::format("is not a {}number {}", std::is_integral_v<Number> ? "whole " : "", text());
    }
};

template <typename Options>
Range range_of(const Option<Options>& option) {
    return {option.low, option.high, option.above_low};
}

std::string names_of(std::span<const ChoiceName> names) {
    std::string text;
    for (const ChoiceName& each : names) {
        if (!each.listed) continue;
        if (!text.empty()) text += ", ";
        text += each.name;
    }
    return text;
}

bool is(const ChoiceName& choice, std::string_view text) {
    if (text == choice.name) return true;
    const size_t length = choice.name.size();
    return choice.numbered && text.size() > length + 1 && text.substr(0, length) == choice.name &&
           text[length] == ':' && text.find_first_not_of("0123456789", length + 1) == std::string_view::npos;
}

// Assigns a text to one field of `options`; one function for each kind of field.
template <typename Options>
struct Assign {
    const Option<Options>& option;
    Options& options;
    std::string_view text;

    std::string operator()(bool Options::*field) const {
        const bool on = text.empty() || text == "on" || text == "true";
        if (!on && text != "off" && text != "false") return quoted(text, "is none of on, off");
        options.*field = on;
        return {};
    }
    template <typename Number>
    std::string operator()(Number Options::*field) const requires std::is_arithmetic_v<Number> {
        const std::optional<Number> number = read_number<Number>(text);
        const Range range = range_of(option);
        if (!number || !range.holds(static_cast<double>(*number))) {
            return quoted(text, range.refusal<Number>());
        }
        options.*field = *number;
        return {};
    }
    std::string operator()(std::string Options::*field) const {
        options.*field = text;
        return {};
    }
    std::string operator()(std::filesystem::path Options::*field) const {
        if (text.empty()) return "is empty; name a file or a folder";
        options.*field = text;
        return {};
    }
    std::string operator()(const SizeField<Options>& size) const {
        const std::optional<uint64_t> bytes = read_size(text);
        if (!bytes) return quoted(text, kNoSize);
        if (*bytes == 0) return "must be more than nothing";
        options.*size.field = *bytes;
        return {};
    }
    std::string operator()(const OptionalSizeField<Options>& size) const {
        const std::optional<uint64_t> bytes = read_size(text);
        if (!bytes) return quoted(text, kNoSize);
        options.*size.field = *bytes;
        return {};
    }
    std::string operator()(const Choice<Options>& choice) const {
        for (const ChoiceName& each : choice.names) {
            if (!is(each, text)) continue;
            choice.set(options, each, text);
            return {};
        }
        return quoted(text, "is none of " + names_of(choice.names));
    }
};

template <typename Options>
struct ValueText {
    const Options& options;

    std::string operator()(bool Options::*field) const { return options.*field ? "on" : ""; }
    template <typename Number>
    std::string operator()(Number Options::*field) const requires std::is_arithmetic_v<Number> {
        return fmt::format("{}", options.*field);
    }
    std::string operator()(std::string Options::*field) const { return options.*field; }
    std::string operator()(std::filesystem::path Options::*field) const { return (options.*field).string(); }
    std::string operator()(const SizeField<Options>& size) const { return size_text(options.*size.field); }
    std::string operator()(const OptionalSizeField<Options>& size) const {
        return options.*size.field ? size_text(*(options.*size.field)) : std::string();
    }
    std::string operator()(const Choice<Options>& choice) const { return choice.get(options, choice.names); }

    static std::string size_text(uint64_t bytes) {
        constexpr std::string_view kUnits = "KMGT";
        size_t power = 0;
        while (power < kUnits.size() && bytes != 0 && bytes % 1024 == 0) {
            bytes /= 1024;
            ++power;
        }
        return power == 0 ? std::to_string(bytes) : fmt::format("{}{}", bytes, kUnits[power - 1]);
    }
};

// A number that may also have come without a text.
template <typename Options>
struct RangeProblem {
    const Option<Options>& option;
    const Options& options;

    std::string operator()(bool Options::*) const { return {}; }
    template <typename Number>
    std::string operator()(Number Options::*field) const requires std::is_arithmetic_v<Number> {
        const Range range = range_of(option);
        const Number number = options.*field;
        if (range.holds(static_cast<double>(number))) return {};
        return fmt::format("{} {}", number, range.refusal<Number>());
    }
    template <typename Other>
    std::string operator()(const Other&) const {
        return {};
    }
};

// 0 stands for "left out".
bool is_left_out(const Option<EngineOptions>& option, const EngineOptions& options) {
    const auto* whole = std::get_if<int64_t EngineOptions::*>(&option.field);
    const auto* natural = std::get_if<uint64_t EngineOptions::*>(&option.field);
    return (whole != nullptr && options.**whole == 0) || (natural != nullptr && options.**natural == 0);
}

}  // namespace

template <typename Options>
std::string assign(const Option<Options>& option, Options& options, std::string_view text) {
    return std::visit(Assign<Options>{option, options, text}, option.field);
}

template <typename Options>
std::string value_text(const Option<Options>& option, const Options& options) {
    return std::visit(ValueText<Options>{options}, option.field);
}

template <typename Options>
std::string choices_text(const Option<Options>& option) {
    const auto* choice = std::get_if<Choice<Options>>(&option.field);
    return choice == nullptr ? std::string() : names_of(choice->names);
}

template <typename Options>
std::string range_problem(const Option<Options>& option, const Options& options) {
    return std::visit(RangeProblem<Options>{option, options}, option.field);
}

void set_option(EngineOptions& options, std::string_view name, std::string_view text) {
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (option.name != name) continue;
        const std::string problem = assign(option, options, text);
        if (!problem.empty()) fail(ErrorCode::kUsage, "`{}` {}", name, problem);
        return;
    }
    fail(ErrorCode::kUsage, "there is no option `{}`", name);
}

void check_options(const EngineOptions& options) {
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (is_left_out(option, options)) continue;
        const std::string problem = range_problem(option, options);
        if (!problem.empty()) fail(ErrorCode::kUsage, "`{}` {}", option.name, problem);
    }
    for (const ChoiceName& device : kDeviceNames) {
        if (is(device, options.device)) return;
    }
    fail(ErrorCode::kUnsupported, "`device` \"{}\": this build runs on {}", options.device, names_of(kDeviceNames));
}

#define SLUICE_OPTIONS_OF(Options)                                                   \
    template std::string assign(const Option<Options>&, Options&, std::string_view); \
    template std::string value_text(const Option<Options>&, const Options&);         \
    template std::string choices_text(const Option<Options>&);                       \
    template std::string range_problem(const Option<Options>&, const Options&);
SLUICE_OPTIONS_OF(EngineOptions)
SLUICE_OPTIONS_OF(SamplingOptions)
SLUICE_OPTIONS_OF(GenerationOptions)
SLUICE_OPTIONS_OF(PackOptions)
SLUICE_OPTIONS_OF(SynthOptions)
#undef SLUICE_OPTIONS_OF

}  // namespace sluice
