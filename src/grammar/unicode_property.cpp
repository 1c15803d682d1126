#include "grammar/unicode_property.h"

#include <utf8proc.h>

#include <array>
#include <vector>

namespace sluice::grammar {

namespace {

struct LongName {
    std::string_view name;
    std::string_view category;
};

constexpr std::array kLongNames = {
    LongName{"Letter", "L"},
    LongName{"Cased_Letter", "LC"},
    LongName{"Uppercase_Letter", "Lu"},
    LongName{"Lowercase_Letter", "Ll"},
    LongName{"Titlecase_Letter", "Lt"},
    LongName{"Modifier_Letter", "Lm"},
    LongName{"Other_Letter", "Lo"},
    LongName{"Mark", "M"},
    LongName{"Nonspacing_Mark", "Mn"},
    LongName{"Spacing_Mark", "Mc"},
    LongName{"Enclosing_Mark", "Me"},
    LongName{"Number", "N"},
    LongName{"Decimal_Number", "Nd"},
    LongName{"digit", "Nd"},
    LongName{"Letter_Number", "Nl"},
    LongName{"Other_Number", "No"},
    LongName{"Punctuation", "P"},
    LongName{"punct", "P"},
    LongName{"Connector_Punctuation", "Pc"},
    LongName{"Dash_Punctuation", "Pd"},
    LongName{"Open_Punctuation", "Ps"},
    LongName{"Close_Punctuation", "Pe"},
    LongName{"Initial_Punctuation", "Pi"},
    LongName{"Final_Punctuation", "Pf"},
    LongName{"Other_Punctuation", "Po"},
    LongName{"Symbol", "S"},
    LongName{"Math_Symbol", "Sm"},
    LongName{"Currency_Symbol", "Sc"},
    LongName{"Modifier_Symbol", "Sk"},
    LongName{"Other_Symbol", "So"},
    LongName{"Separator", "Z"},
    LongName{"Space_Separator", "Zs"},
    LongName{"Line_Separator", "Zl"},
    LongName{"Paragraph_Separator", "Zp"},
    LongName{"Other", "C"},
    LongName{"Control", "Cc"},
    LongName{"cntrl", "Cc"},
    LongName{"Format", "Cf"},
    LongName{"Private_Use", "Co"},
    LongName{"Unassigned", "Cn"},
};

bool is_category(std::string_view name) {
    constexpr std::string_view kShort =
        " L LC Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc Cf Co Cn ";
    for (size_t at = kShort.find(name); at != std::string_view::npos; at = kShort.find(name, at + 1)) {
        if (!name.empty() && kShort[at - 1] == ' ' && kShort[at + name.size()] == ' ') return true;
    }
    return false;
}

struct Run {
    CharRange characters;
    std::string_view category;
};

// All characters in runs of one category.
const std::vector<Run>& category_runs() {
    static const std::vector<Run> runs = [] {
        std::vector<Run> made;
        utf8proc_category_t last = UTF8PROC_CATEGORY_CN;
        for (char32_t c = 0; c <= 0x10FFFF; ++c) {
            const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
            if (c == 0 || category != last) {
                made.push_back({{c, c}, utf8proc_category_string(static_cast<utf8proc_int32_t>(c))});
            }
            made.back().characters.high = c;
            last = category;
        }
        return made;
    }();
    return runs;
}

bool belongs(std::string_view category, std::string_view asked) {
    if (asked == "LC") return category == "Lu" || category == "Ll" || category == "Lt";
    return category.starts_with(asked);
}

}  // namespace

std::optional<CharSet> general_category(std::string_view name) {
    for (const std::string_view prefix : {"gc=", "General_Category="}) {
        if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    for (const LongName& known : kLongNames) {
        if (name == known.name) name = known.category;
    }
    if (name == "Any") return CharSet::all();
    if (!is_category(name)) return std::nullopt;
    CharSet set;
    for (const Run& run : category_runs()) {
        if (belongs(run.category, name)) set.add(run.characters.low, run.characters.high);
    }
    return set;
}

}  // namespace sluice::grammar
