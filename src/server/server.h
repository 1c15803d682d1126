#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sluice/engine.h"

namespace sluice::server {

// What `sluice serve` is told beside the engine's options.
struct ServerOptions {
    std::string host = "127.0.0.1";
    int64_t port = 8080;
    std::vector<std::string> api_keys = {};
    bool insecure = false;                  // listens on other addresses without keys
    std::vector<std::string> aliases = {};  // other names of the model; "*": any
    int64_t slots = 16;                     // sequences decoded at once
    int64_t queue = 128;                    // sequences that may wait besides
    int64_t max_output = 0;                 // tokens of an answer; 0: what the context holds
    uint64_t max_body_bytes = uint64_t{32} << 20;
    double header_timeout_s = 10;
    double keepalive_s = 10;  // of silence, after which a stream says that it lives
    double drain_s = 30;      // for running requests once the server is asked to stop
    std::vector<std::string> cors_origins = {};
    std::vector<std::string> allowed_hosts = {};
    std::string version = {};
};

// Takes the port, opens the engine by `open`, says `ready`, serves until `should_stop`, lets running requests finish,
// and returns. Throws kIo for an address that cannot be had, and what `open` throws.
void serve(const ServerOptions& options, const std::function<std::unique_ptr<Engine>()>& open,
           const std::function<void(const Engine&, uint16_t port)>& ready, const std::function<bool()>& should_stop);

}  // namespace sluice::server
