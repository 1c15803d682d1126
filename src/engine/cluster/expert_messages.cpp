#include "engine/cluster/expert_messages.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "engine/cluster/message.h"

namespace sluice {

namespace {

constexpr uint64_t kRequestMark = 0x5e9a3c15'51c1ce01, kReplyMark = 0x5e9a3c15'51c1ce02;
constexpr size_t kMostErrorText = 2048;
constexpr size_t kPadding = 64;  // of all arrays

struct RequestHead {
    uint64_t mark = kRequestMark;
    uint64_t number = 0;
    int32_t end = 0, layer = 0, prompt = 0, columns = 0;
    uint64_t experts = 0, entries = 0, rows = 0, hints = 0;
    uint64_t following = 0;
};

struct ReplyHead {
    uint64_t mark = kReplyMark;
    uint64_t number = 0;
    uint64_t numbers = 0, failed = 0;
    WorkerCounters counters;
};

// The rows of x that are read at all, one after the other, and where each is among them.
class RowsInUse {
  public:
    explicit RowsInUse(size_t rows) : place_(rows, -1) {}

    int32_t place_of(int32_t row) {
        int32_t& place = place_[static_cast<size_t>(row)];
        if (place < 0) {
            place = static_cast<int32_t>(rows_.size());
            rows_.push_back(row);
        }
        return place;
    }
    const std::vector<int32_t>& rows() const { return rows_; }

  private:
    std::vector<int32_t> place_, rows_;
};

}  // namespace

MessageSizes message_sizes(const ModelConfig& config, int64_t pass_rows) {
    MessageSizes sizes{.rows = pass_rows, .experts = config.experts(), .experts_per_token = config.experts_per_token()};
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const MixtureConfig* mixture = config.mixture_of(layer);
        if (mixture == nullptr) continue;
        sizes.columns = std::max(sizes.columns, mixture->width(config.hidden_size));
        if (mixture->weighed_input) sizes.row_per_choice = true;
    }
    return sizes;
}

size_t MessageSizes::request_bytes() const {
    const auto choices = static_cast<size_t>(rows * experts_per_token);
    const size_t x_rows = row_per_choice ? choices : static_cast<size_t>(rows);
    return sizeof(RequestHead) + x_rows * static_cast<size_t>(columns) * sizeof(float) + choices * sizeof(int32_t) +
           static_cast<size_t>(experts) * (2 * sizeof(int32_t) + sizeof(ExpertKey)) + kPadding;
}

size_t MessageSizes::reply_bytes() const {
    return sizeof(ReplyHead) + static_cast<size_t>(rows * experts_per_token * columns) * sizeof(float) +
           static_cast<size_t>(experts) * sizeof(int32_t) + kMostErrorText + kPadding;
}

size_t reply_bytes(const RowsOfExpert& rows_of, size_t columns) {
    return sizeof(ReplyHead) + rows_of.entries.size() * columns * sizeof(float) +
           rows_of.experts.size() * sizeof(int32_t) + kMostErrorText + kPadding;
}

void write_end(uint64_t number, std::vector<std::byte>& bytes) {
    MessageWriter(bytes).put(RequestHead{.number = number, .end = 1});
}

void write_request(uint64_t number, const WorkElsewhere& work, const RequestPart& part, RowsOfExpert& mine,
                   std::vector<std::byte>& bytes) {
    mine = {};
    std::vector<int32_t> counts, places, entries;
    RowsInUse in_use(work.x.size() / work.columns);
    for (size_t i = 0; i < work.rows_of.experts.size(); ++i) {
        const int expert = work.rows_of.experts[i];
        if (!part.experts(expert)) continue;
        entries.clear();
        for (size_t e = work.rows_of.first[i]; e < work.rows_of.first[i + 1]; ++e) {
            if (work.rows[e] < part.first_row || work.rows[e] >= part.end_row) continue;
            entries.push_back(work.rows_of.entries[e]);
            places.push_back(in_use.place_of(work.rows[e]));
        }
        if (entries.empty()) continue;
        mine.add(expert, entries);
        counts.push_back(static_cast<int32_t>(entries.size()));
    }
    std::vector<ExpertKey> hints;
    std::ranges::copy_if(work.hints, std::back_inserter(hints), part.hints);
    MessageWriter writer(bytes);
    writer.put(RequestHead{.number = number,
                           .layer = work.layer,
                           .prompt = work.prompt,
                           .columns = static_cast<int32_t>(work.columns),
                           .experts = mine.experts.size(),
                           .entries = places.size(),
                           .rows = in_use.rows().size(),
                           .hints = hints.size()});
    writer.put_all(std::span<const int>(mine.experts));
    writer.put_all(std::span<const int32_t>(counts));
    writer.put_all(std::span<const int32_t>(places));
    writer.put_all(std::span<const ExpertKey>(hints));
    const size_t row_bytes = work.columns * sizeof(float);
    std::byte* to = writer.room(in_use.rows().size() * row_bytes).data();
    for (const int32_t row : in_use.rows()) {
        std::memcpy(to, work.x.data() + static_cast<size_t>(row) * work.columns, row_bytes);
        to += row_bytes;
    }
}

void announce(std::vector<std::byte>& request, size_t following) {
    const uint64_t bytes = following;
    std::memcpy(request.data() + offsetof(RequestHead, following), &bytes, sizeof bytes);
}

ExpertRequest read_request(std::span<const std::byte> bytes) {
    MessageReader reader(bytes);
    const auto head = reader.take<RequestHead>();
    if (head.mark != kRequestMark) fail(ErrorCode::kIo, "what came is no request");
    ExpertRequest request{.number = head.number, .end = head.end != 0, .layer = head.layer, .prompt = head.prompt != 0};
    if (request.end) return request;
    request.following = head.following;
    request.columns = static_cast<size_t>(head.columns);
    const auto experts = reader.take_all<int>(head.experts);
    const auto counts = reader.take_all<int32_t>(head.experts);
    request.rows = reader.take_all<int32_t>(head.entries);
    const auto hints = reader.take_all<ExpertKey>(head.hints);
    request.hints.assign(hints.begin(), hints.end());
    request.x = reader.take_all<float>(head.rows * request.columns);
    std::vector<int32_t> entries;
    for (size_t i = 0, next = 0; i < experts.size(); ++i) {
        entries.clear();
        for (int32_t e = 0; e < counts[i]; ++e) entries.push_back(static_cast<int32_t>(next++));
        request.rows_of.add(experts[i], entries);
    }
    const auto beyond = [&](int32_t row) { return row < 0 || static_cast<uint64_t>(row) >= head.rows; };
    if (request.rows_of.entries.size() != head.entries || std::ranges::any_of(request.rows, beyond)) {
        fail(ErrorCode::kIo, "a request contradicts itself");
    }
    return request;
}

std::span<std::byte> write_reply(const ExpertReply& reply, size_t numbers, std::vector<std::byte>& bytes) {
    MessageWriter writer(bytes);
    writer.put(ReplyHead{
        .number = reply.number, .numbers = numbers, .failed = reply.failed.size(), .counters = reply.counters});
    writer.put_all(reply.failed);
    writer.put_text(std::string_view(reply.error).substr(0, kMostErrorText));
    return writer.room(numbers * sizeof(float));
}

ExpertReply read_reply(std::span<const std::byte> bytes) {
    MessageReader reader(bytes);
    const auto head = reader.take<ReplyHead>();
    if (head.mark != kReplyMark) fail(ErrorCode::kIo, "what came is no reply");
    ExpertReply reply{.number = head.number, .counters = head.counters};
    reply.failed = reader.take_all<int32_t>(head.failed);
    reply.error = reader.take_text();
    reply.rows = reader.take_all<float>(head.numbers);
    return reply;
}

}  // namespace sluice
