#include "engine/link_speed.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/clock.h"

namespace sluice {

namespace {

constexpr uint64_t kMeasuredBytes = 128ull << 20;
constexpr size_t kSlots = 4;  // no copy goes where the one before it went

}  // namespace

double measure_link(Backend& backend, uint64_t slot_bytes) {
    const auto slots = backend.make_slots(kSlots, slot_bytes);
    const auto source = backend.make_host_slots(kSlots, slot_bytes);
    for (size_t slot = 0; slot < kSlots; ++slot) std::memset(source->land_at(slot, slot), 1, slot_bytes);
    const auto copy = [&](size_t count) {
        EventPtr last;
        for (size_t i = 0; i < count; ++i) last = slots->fill(i % kSlots, source->land_at(i % kSlots, i % kSlots));
        if (last) last->wait();
    };
    copy(kSlots);
    const size_t count = std::max<size_t>(kMeasuredBytes / slot_bytes, 2 * kSlots);
    const Stopwatch watch;
    copy(count);
    return static_cast<double>(count * slot_bytes) / std::max(watch.seconds(), 1e-9);
}

double measure_row_trip(Backend& backend, int64_t columns) {
    constexpr int kTrips = 16;
    std::vector<float> row(static_cast<size_t>(columns));
    const BufferPtr buffer = backend.allocate(row.size() * sizeof(float));
    double shortest = 1;
    for (int i = 0; i < kTrips; ++i) {
        const Stopwatch watch;
        backend.download(buffer, 0, std::as_writable_bytes(std::span(row)));
        backend.wait();
        backend.upload(buffer, 0, std::as_bytes(std::span(row)));
        backend.wait();
        shortest = std::min(shortest, watch.seconds());
    }
    return shortest;
}

}  // namespace sluice
