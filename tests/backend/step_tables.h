#pragma once

// The tables of a step, as operations take them, from plain lists.

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/host_sequences.h"

namespace sluice {

// One after the other, or recorded first where the backend records.
inline void run_step(Backend& backend, const std::vector<Operation>& operations, bool recorded) {
    const bool records = recorded && backend.records();
    if (records) backend.begin_recording();
    for (const Operation& operation : operations) backend.run(operation);
    if (!records) return;
    const std::shared_ptr<Recording> recording = backend.end_recording();
    if (recording != nullptr) backend.replay(*recording);
    backend.wait();
}

inline Tensor int_table(Backend& backend, const std::vector<int32_t>& values, int64_t columns) {
    const BufferPtr buffer = backend.allocate(std::max<size_t>(values.size(), 1) * sizeof(int32_t));
    backend.upload(buffer, 0, std::as_bytes(std::span(values)));
    return make_tensor(buffer, DType::kI32, static_cast<int64_t>(values.size()) / columns, columns);
}

inline Sequences sequences_of(Backend& backend, const std::vector<SequenceRows>& sequences) {
    Sequences result;
    std::vector<int32_t> values;
    for (const SequenceRows& each : sequences) {
        for (const int64_t value : {each.first_row, each.count, each.position}) {
            values.push_back(static_cast<int32_t>(value));
        }
        result.most_rows = std::max(result.most_rows, each.count);
        result.most_tokens = std::max(result.most_tokens, each.position + each.count);
    }
    result.rows = int_table(backend, values, 3);
    return result;
}

// A cache filled page by page. In the pool the pages lie backwards and with a page between that nobody may touch, so
// that only the table leads to them.
class CacheBuilder {
  public:
    CacheBuilder(KvFormat format, int64_t page_tokens, uint64_t page_bytes)
        : format_(format), page_tokens_(page_tokens), page_bytes_(page_bytes) {}

    // The pages of the next sequence.
    void add(std::vector<std::vector<std::byte>> pages) { sequences_.push_back(std::move(pages)); }
    void add_empty(int64_t tokens, std::byte fill = {}) {
        const auto count = static_cast<size_t>((tokens + page_tokens_ - 1) / page_tokens_);
        add(std::vector(count, std::vector<std::byte>(page_bytes_, fill)));
    }

    PagedCache build(Backend& backend) const {
        size_t count = 0, widest = 1;
        for (const auto& pages : sequences_) {
            count += pages.size();
            widest = std::max(widest, pages.size());
        }
        const uint64_t distance = (page_bytes_ + 3 + 64) / 4 * 4;
        std::vector<std::byte> pool(2 * std::max<size_t>(count, 1) * distance, std::byte{0xff});
        std::vector<int32_t> table(sequences_.size() * widest, -1);
        auto number = static_cast<int32_t>(2 * count);
        for (size_t s = 0; s < sequences_.size(); ++s) {
            for (size_t i = 0; i < sequences_[s].size(); ++i) {
                number -= 2;
                table[s * widest + i] = number;
                std::ranges::copy(sequences_[s][i],
                                  pool.begin() + static_cast<std::ptrdiff_t>(static_cast<uint64_t>(number) * distance));
            }
        }
        const BufferPtr buffer = backend.allocate(pool.size());
        backend.upload(buffer, 0, pool);
        return {.format = format_,
                .page_tokens = page_tokens_,
                .pool = buffer,
                .page_bytes = distance,
                .pages = int_table(backend, table, static_cast<int64_t>(widest))};
    }

  private:
    KvFormat format_;
    int64_t page_tokens_;
    uint64_t page_bytes_;
    std::vector<std::vector<std::vector<std::byte>>> sequences_;
};

// The pages of sequence `s`, which has `tokens` tokens.
inline std::vector<std::vector<std::byte>> read_pages(Backend& backend, const PagedCache& cache, size_t s,
                                                      int64_t tokens, uint64_t page_bytes) {
    std::vector<int32_t> numbers(static_cast<size_t>(cache.pages.columns));
    backend.download(cache.pages.buffer, cache.pages.rows_at(static_cast<int64_t>(s), 1).offset,
                     std::as_writable_bytes(std::span(numbers)));
    backend.wait();
    std::vector<std::vector<std::byte>> pages;
    for (int64_t first = 0; first < tokens; first += cache.page_tokens) {
        const auto number = static_cast<uint64_t>(numbers[pages.size()]);
        backend.download(cache.pool, number * cache.page_bytes, pages.emplace_back(page_bytes));
        backend.wait();
    }
    return pages;
}

// States in slots that lie backwards, with one between: where they are `apart`, the new states go there.
inline StateSlots states_of(Backend& backend, const std::vector<std::vector<float>>& states, int64_t rows,
                            int64_t columns, uint64_t numbers_between = 3, bool apart = false) {
    const auto floats = static_cast<uint64_t>(rows * columns);
    const uint64_t slot_bytes = (floats + numbers_between) * sizeof(float);
    std::vector<std::byte> pool(2 * states.size() * slot_bytes, std::byte{0xff});
    std::vector<int32_t> slots;
    for (size_t s = 0; s < states.size(); ++s) {
        const size_t slot = 2 * (states.size() - 1 - s);
        slots.push_back(static_cast<int32_t>(slot));
        if (apart) slots.push_back(static_cast<int32_t>(slot) + 1);
        std::memcpy(pool.data() + slot * slot_bytes, states[s].data(), floats * sizeof(float));
    }
    const BufferPtr buffer = backend.allocate(pool.size());
    backend.upload(buffer, 0, pool);
    return {.pool = buffer,
            .slot_bytes = slot_bytes,
            .slots = int_table(backend, slots, apart ? 2 : 1),
            .rows = rows,
            .columns = columns};
}

// What its slots hold, one after the other.
inline std::vector<float> read_state(Backend& backend, const StateSlots& states, size_t s) {
    std::vector<int32_t> slots(static_cast<size_t>(states.slots.columns));
    backend.download(states.slots.buffer, s * slots.size() * sizeof(int32_t), std::as_writable_bytes(std::span(slots)));
    backend.wait();
    const auto floats = static_cast<size_t>(states.rows * states.columns);
    std::vector<float> state(slots.size() * floats);
    for (size_t i = 0; i < slots.size(); ++i) {
        backend.download(states.pool, static_cast<uint64_t>(slots[i]) * states.slot_bytes,
                         std::as_writable_bytes(std::span(state).subspan(i * floats, floats)));
    }
    backend.wait();
    return state;
}

}  // namespace sluice
