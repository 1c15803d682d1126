#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/processors.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/verb.h"
#include "server/server.h"

namespace sluice::cli {

namespace {

constexpr const char* kServerGroup = "Serving";
constexpr size_t kManyCores = 8;  // from here on one is worth less to the model than to whoever asks it
constexpr std::array<std::string_view, 3> kLoopback = {"127.0.0.1", "localhost", "::1"};

struct Flags {
    ModelFlags model;
    server::ServerOptions server;
    std::vector<std::string> key_files;
};

Flag repeated_flag(std::string names, std::vector<std::string>& list, std::string help, std::string value) {
    Flag flag{.names = std::move(names), .help = std::move(help), .value = std::move(value)};
    flag.take = [&list](const std::string& text) {
        if (text.empty()) return std::string("must not be empty");
        list.push_back(text);
        return std::string();
    };
    flag.repeated = true;
    return flag;
}

// One key a line; empty lines and those that begin with # are none.
void read_key_file(const std::string& file, std::vector<std::string>& keys) {
    const std::string text = read_text(file);
    const size_t before = keys.size();
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
        if (!line.empty() && line.front() != '#') keys.push_back(std::move(line));
        begin = end + 1;
    }
    if (keys.size() == before) fail(ErrorCode::kInvalidFile, "{}: holds no key; one a line is needed", file);
}

// As browsers send it: without a path, not even a slash at the end.
void check_origin(const std::string& origin) {
    const size_t scheme = origin.find("://");
    const bool whole = scheme != std::string::npos && origin.find('/', scheme + 3) == std::string::npos;
    if (origin == "null" || (whole && scheme > 0 && scheme + 3 < origin.size())) return;
    throw UsageError(fmt::format("--cors {}: no origin; one looks like http://localhost:3000", origin));
}

// A step waits for its slowest thread, and that is the one whose core the network or a client on this machine takes.
size_t threads_beside_clients() {
    const size_t cores = available_cores();
    return cores >= kManyCores ? cores - 1 : cores;
}

void serve(const Flags& flags) {
    server::ServerOptions options = flags.server;
    std::ranges::for_each(options.cors_origins, check_origin);
    for (const std::string& file : flags.key_files) read_key_file(file, options.api_keys);
    const bool local = std::ranges::find(kLoopback, options.host) != kLoopback.end();
    if (!local && options.api_keys.empty() && !options.insecure) {
        throw UsageError(
            fmt::format("--host {} lets other machines in; give --api-key, or --insecure to let anyone", options.host));
    }
    options.version = SLUICE_VERSION;
    const InterruptHold hold;
    server::serve(
        options,
        [&] {
            ModelFlags model = flags.model;
            model.engine.sessions = options.slots;
            if (model.engine.threads == 0) model.engine.threads = threads_beside_clients();
            return open_engine(model);
        },
        [&](const Engine& engine, uint16_t port) {
            const bool v6 = options.host.find(':') != std::string::npos;
            tell("{} is served at http://{}{}{}:{} ({} places, a context of {})\n", engine.info().model_name,
                 v6 ? "[" : "", options.host, v6 ? "]" : "", port, options.slots, engine.info().context);
        },
        [] { return interrupted(); });
    // Whoever asked for the end got it in order.
    forget_interrupt();
}

void add_server_flags(FlagList& list, Flags& flags) {
    server::ServerOptions& options = flags.server;
    const size_t first = list.size();
    list.push_back(text_flag("--host", options.host, "Address to listen on [127.0.0.1]", "HOST"));
    list.push_back(count_flag("--port", options.port, "Port to listen on; 0: any that is free [8080]", 0, 65535));
    list.push_back(
        repeated_flag("--api-key", options.api_keys, "A key that requests must bring; may be given again", "K"));
    list.push_back(repeated_flag("--api-key-file", flags.key_files, "A file with keys, one a line", "F"));
    list.push_back(switch_flag("--insecure", options.insecure, "Listen on other addresses without a key"));
    list.push_back(repeated_flag("--alias", options.aliases,
                                 "Another name that requests may give the model; *: any; may be given again", "NAME"));
    list.push_back(count_flag("--slots", options.slots, "Sequences decoded at once [16]", 1, 4096));
    list.push_back(count_flag("--queue", options.queue, "Sequences that may wait besides [128]", 0, 1 << 20));
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (option.name == "session_tokens") list.push_back(option_flag(option, flags.model.engine));
    }
    list.push_back(count_flag("--max-output", options.max_output,
                              "Tokens of an answer at most; 0: what the context holds [0]", 0, 1 << 30));
    list.push_back(size_flag("--max-body", options.max_body_bytes, "Bytes of a request at most [32M]"));
    list.push_back(number_flag("--header-timeout", options.header_timeout_s,
                               "Seconds that a request's headers may take [10]", 0.1, 3600));
    list.push_back(number_flag("--keepalive", options.keepalive_s,
                               "Seconds of silence after which a stream says that it lives [10]", 0.01, 3600));
    list.push_back(repeated_flag("--cors", options.cors_origins,
                                 "An origin whose pages may ask, such as https://app.example; may be given again",
                                 "ORIGIN"));
    list.push_back(repeated_flag("--allow-host", options.allowed_hosts,
                                 "Another name of this machine that requests without a key may use", "NAME"));
    list.push_back(number_flag("--drain", options.drain_s,
                               "Seconds that running requests may go on when the server is to stop [30]", 0, 86400));
    for (size_t i = first; i < list.size(); ++i) list[i].group = kServerGroup;
}

}  // namespace

Command declare_serve() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    add_server_flags(list, *flags);
    add_engine_flags(command, flags->model);
    flags->model.engine.prefix_memory_bytes.reset();  // prompts begin as earlier ones did
    command.run = [flags] { serve(*flags); };
    return command;
}

}  // namespace sluice::cli
