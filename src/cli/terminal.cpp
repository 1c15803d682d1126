#include "cli/terminal.h"

#include <unistd.h>

#include <cstdlib>

namespace sluice::cli {

bool has_colours(int descriptor) {
    const char* const kind = std::getenv("TERM");
    const char* const none = std::getenv("NO_COLOR");
    if (none != nullptr && *none != '\0') return false;
    return kind != nullptr && *kind != '\0' && std::string_view(kind) != "dumb" && ::isatty(descriptor) == 1;
}

std::string without_controls(std::string_view text) {
    std::string plain;
    plain.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
        // U+0080 to U+009F, of which one begins sequences as the escape character does
        if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
            ++i;
            continue;
        }
        if (byte == '\n' || byte == '\t' || (byte >= 0x20 && byte != 0x7f)) plain += text[i];
    }
    return plain;
}

}  // namespace sluice::cli
