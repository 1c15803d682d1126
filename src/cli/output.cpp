#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace sluice::cli {

bool Output::write(std::string_view text) {
    while (open_ && !text.empty()) {
        const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
        if (written >= 0) {
            text.remove_prefix(static_cast<size_t>(written));
        } else if (errno == EPIPE) {
            open_ = false;
        } else if (errno != EINTR) {
            fail(ErrorCode::kIo, "cannot write to standard output: {}", errno_text(errno));
        }
    }
    return open_;
}

bool Output::is_terminal() {
    return ::isatty(STDOUT_FILENO) == 1;
}

void write_json(Output& output, const nlohmann::ordered_json& document) {
    output.write(document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace sluice::cli
