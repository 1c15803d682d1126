#include "text/pattern_properties.h"

#include <cctype>
#include <map>

namespace sluice {

namespace {

// Lower case and without separators, as both engines compare names.
const std::map<std::string_view, std::string_view>& known_names() {
    static const std::map<std::string_view, std::string_view> names = {
        {"letter", "L"},
        {"mark", "M"},
        {"number", "N"},
        {"punctuation", "P"},
        {"symbol", "S"},
        {"separator", "Z"},
        {"other", "C"},
        {"uppercaseletter", "Lu"},
        {"lowercaseletter", "Ll"},
        {"titlecaseletter", "Lt"},
        {"modifierletter", "Lm"},
        {"otherletter", "Lo"},
        {"casedletter", "L&"},
        {"lc", "L&"},
        {"nonspacingmark", "Mn"},
        {"spacingmark", "Mc"},
        {"enclosingmark", "Me"},
        {"decimalnumber", "Nd"},
        {"letternumber", "Nl"},
        {"othernumber", "No"},
        {"connectorpunctuation", "Pc"},
        {"dashpunctuation", "Pd"},
        {"openpunctuation", "Ps"},
        {"closepunctuation", "Pe"},
        {"initialpunctuation", "Pi"},
        {"finalpunctuation", "Pf"},
        {"otherpunctuation", "Po"},
        {"mathsymbol", "Sm"},
        {"currencysymbol", "Sc"},
        {"modifiersymbol", "Sk"},
        {"othersymbol", "So"},
        {"spaceseparator", "Zs"},
        {"lineseparator", "Zl"},
        {"paragraphseparator", "Zp"},
        {"control", "Cc"},
        {"format", "Cf"},
        {"privateuse", "Co"},
        {"unassigned", "Cn"},
        {"any", "Any"},
        {"alpha", "Alphabetic"},
        {"space", "White_Space"},
        {"digit", "Nd"},
        {"upper", "Uppercase"},
        {"lower", "Lowercase"},
        {"punct", "P"},
        {"cntrl", "Cc"},
        {"alphabetic", "Alphabetic"},
        {"whitespace", "White_Space"},
        {"uppercase", "Uppercase"},
        {"lowercase", "Lowercase"},
        {"ideographic", "Ideographic"},
        {"emoji", "Emoji"},
        {"extendedpictographic", "Extended_Pictographic"},
    };
    return names;
}

}  // namespace

std::optional<std::string> pcre2_property_name(std::string_view name) {
    std::string key;
    for (const char c : name) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte)) {
            key += static_cast<char>(std::tolower(byte));
        } else if (c != '_' && c != '-' && c != ' ') {
            return std::nullopt;
        }
    }
    if (key.empty()) return std::nullopt;
    if (const auto known = known_names().find(key); known != known_names().end()) return std::string(known->second);
    if (key.size() <= 2) {  // a general category: L, Lu
        key[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(key[0])));
        return key;
    }
    // Plain \p{Han} would be PCRE2's script extensions.
    return "sc:" + key;
}

}  // namespace sluice
