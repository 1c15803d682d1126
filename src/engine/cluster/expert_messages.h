#pragma once

// What the leader and those who hold experts for it tell each other about a layer: see ExpertsElsewhere.

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "experts/experts_elsewhere.h"
#include "sluice/expert_counters.h"

namespace sluice {

// The sizes that bound every message.
struct MessageSizes {
    int64_t rows = 0;  // of a pass
    int64_t columns = 0;
    int64_t experts = 0, experts_per_token = 0;
    bool row_per_choice = false;  // see MixtureConfig::weighed_input

    size_t request_bytes() const;
    size_t reply_bytes() const;
    // What both ends of an exchange need together for the messages and their tensors.
    uint64_t memory_bytes() const { return 2 * (request_bytes() + reply_bytes()); }
};

MessageSizes message_sizes(const ModelConfig& config, int64_t pass_rows);

// The most that a reply to so much work takes.
size_t reply_bytes(const RowsOfExpert& rows_of, size_t columns);

// A layer's work, or the end of it all.
struct ExpertRequest {
    uint64_t number = 0;
    bool end = false;
    int layer = 0;
    bool prompt = false;
    size_t following = 0;       // bytes of another request that comes at once; 0: none does
    RowsOfExpert rows_of = {};  // its entries are numbered one after the other, as the rows of the reply are
    std::span<const int32_t> rows = {};
    std::span<const float> x = {};
    size_t columns = 0;
    std::vector<ExpertKey> hints = {};
};

void write_end(uint64_t number, std::vector<std::byte>& bytes);
// Of a layer's work, what goes in one request: the entries of some experts that read some rows of x, and some hints.
struct RequestPart {
    std::function<bool(int expert)> experts;
    std::function<bool(const ExpertKey&)> hints;
    int32_t first_row = 0, end_row = std::numeric_limits<int32_t>::max();
};
// `mine` is told the entries.
void write_request(uint64_t number, const WorkElsewhere& work, const RequestPart& part, RowsOfExpert& mine,
                   std::vector<std::byte>& bytes);
// Says in a request that was written that another follows.
void announce(std::vector<std::byte>& request, size_t following);
// What it says lies in `bytes`. Throws kIo for what is no request.
ExpertRequest read_request(std::span<const std::byte> bytes);

// What whoever answers has counted since it was opened.
struct WorkerCounters {
    ExpertCounters experts;
    uint64_t cache_bytes = 0;
    double busy_seconds = 0;  // from a request's coming to its reply's going
};

struct ExpertReply {
    uint64_t number = 0;
    WorkerCounters counters;
    std::span<const float> rows = {};      // [entries, columns]
    std::span<const int32_t> failed = {};  // which of the request's experts could not be read,
    std::string error = {};                // and why; without any, why there are no rows at all
};

// With room for so many rows' numbers instead of those of `reply`; they are filled in afterwards.
std::span<std::byte> write_reply(const ExpertReply& reply, size_t numbers, std::vector<std::byte>& bytes);
ExpertReply read_reply(std::span<const std::byte> bytes);

}  // namespace sluice
