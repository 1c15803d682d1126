#include "grammar/string_formats.h"

#include <fmt/format.h>

#include <map>
#include <mutex>
#include <string>

#include "grammar/determinize.h"
#include "grammar/pattern_parser.h"

namespace sluice::grammar {

namespace {

// RFC 3339, with the days that each month has; the 29th of February in leap years alone.
constexpr std::string_view kDate =
    R"((?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|)"
    R"(02-(?:0[1-9]|1\d|2[0-8]))|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29))";
constexpr std::string_view kTime =
    R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d))";
constexpr std::string_view kUuid = R"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})";
constexpr std::string_view kIpv4 = R"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
// RFC 5321 without quoted local parts and addresses in brackets: what validators in use agree on.
constexpr std::string_view kEmail =
    R"([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@)"
    R"((?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)";

// A leap second is the last of a day in UTC; offsets are quarters of an hour, as all in use are.
std::string time_pattern() {
    constexpr int kDay = 24 * 60;
    std::string pattern = fmt::format(R"((?:{}|23:59:60(?:\.\d+)?[zZ])", kTime);
    for (int offset = 0; offset < kDay; offset += 15) {
        const int local = (offset + kDay - 1) % kDay, behind = (kDay - offset) % kDay;
        pattern += fmt::format(R"(|{:02}:{:02}:60(?:\.\d+)?(?:\+{:02}:{:02}|-{:02}:{:02}))", local / 60, local % 60,
                               offset / 60, offset % 60, behind / 60, behind % 60);
    }
    return pattern + ")";
}

// RFC 3986: a scheme, then what it names.
std::string uri_pattern() {
    const std::string segment = R"((?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}))";
    const std::string user = R"((?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?)";
    const std::string name = R"((?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)";
    const std::string h = "[0-9A-Fa-f]{1,4}";
    std::string ipv6 = "(?:" + h + ":){7}" + h + "|(?:" + h + ":){1,7}:|:(?::" + h + "){1,7}|::";
    for (int before = 1; before <= 6; ++before) {
        ipv6 += "|(?:" + h + ":){" + std::to_string(before) + "}(?::" + h + "){1," + std::to_string(7 - before) + "}";
    }
    const std::string authority = "//" + user + R"((?:\[(?:)" + ipv6 + R"()\]|)" + name + ")(?::[0-9]*)?";
    const std::string path = "(?:/" + segment + "*)*";
    return "[A-Za-z][A-Za-z0-9+.-]*:(?:" + authority + path + "|/(?:" + segment + "+" + path + ")?|" + segment + "+" +
           path + ")(?:\\?(?:" + segment + "|[/?])*)?(?:#(?:" + segment + "|[/?])*)?";
}

std::string pattern_of(std::string_view name) {
    if (name == "date") return std::string(kDate);
    if (name == "time") return time_pattern();
    if (name == "date-time") return fmt::format("{}[tT]{}", kDate, time_pattern());
    if (name == "uuid") return std::string(kUuid);
    if (name == "ipv4") return std::string(kIpv4);
    if (name == "email") return std::string(kEmail);
    if (name == "uri") return uri_pattern();
    return {};
}

}  // namespace

AutomatonPointer find_string_format(std::string_view name) {
    static std::mutex mutex;
    static std::map<std::string, AutomatonPointer, std::less<>> made;
    const std::lock_guard lock(mutex);
    if (const auto at = made.find(name); at != made.end()) return at->second;
    const std::string pattern = pattern_of(name);
    if (pattern.empty()) return nullptr;
    auto automaton = std::make_shared<const CharAutomaton>(determinize(*parse_pattern(pattern), Match::kWhole));
    return made[std::string(name)] = std::move(automaton);
}

}  // namespace sluice::grammar
