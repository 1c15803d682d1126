#include "experts/reads.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <span>

#include "base/log.h"
#include "base/memory.h"

namespace sluice {

namespace {

// Pieces that a drive should have to read, and the least that one is worth (docs/experiments.md, S9).
constexpr size_t kPiecesAtOnce = 8;
constexpr uint64_t kLeastPieceBytes = 256 << 10;

// Cuts what is longer than `piece_bytes`, at whole pages of the file.
void cut(const ReadRequest& whole, uint64_t piece_bytes, std::vector<ReadRequest>& pieces) {
    for (uint64_t done = 0; done < whole.bytes;) {
        const uint64_t offset = whole.offset + done;
        const uint64_t bytes = std::min(whole.bytes - done, piece_bytes - offset % kPageBytes);
        pieces.push_back({whole.file, offset, bytes, whole.destination + done, whole.tag});
        done += bytes;
    }
}

}  // namespace

Reads::Reads(const ExpertCatalogue& catalogue, Checks checks)
    : catalogue_(catalogue),
      checks_(checks),
      verified_(catalogue.record_bytes.size() * static_cast<size_t>(catalogue.experts)),
      drive_order_(verified_.size()),
      arrangement_(catalogue.arrangement_scratch()) {
    order_by_drive();
}

void Reads::order_by_drive() {
    struct Place {
        uint32_t file;
        uint64_t offset;
        size_t index;
        auto operator<=>(const Place&) const = default;
    };
    std::vector<Place> places;
    for (int layer = 0; layer < static_cast<int>(catalogue_.record_bytes.size()); ++layer) {
        if (catalogue_.record_bytes[static_cast<size_t>(layer)] == 0) continue;
        for (int expert = 0; expert < catalogue_.experts; ++expert) {
            if (catalogue_.held && !catalogue_.held(layer, expert)) continue;
            const std::vector<ExpertRead> parts = catalogue_.reads(layer, expert);
            if (parts.empty()) continue;
            places.push_back({parts.front().source.file, parts.front().source.offset, index({layer, expert})});
        }
    }
    std::sort(places.begin(), places.end());
    for (size_t rank = 0; rank < places.size(); ++rank) drive_order_[places[rank].index] = static_cast<uint32_t>(rank);
}

void Reads::add_pool(SlotMemory& memory, SlotMemory* below) {
    const size_t slots = memory.slots();
    pools_.push_back({&memory, below, std::vector<Record>(slots), Landings(std::min(memory.landings(), slots)), {}});
}

void Reads::use_reader(std::unique_ptr<Reader> reader, Reader::Completed answer) {
    reader_ = std::move(reader);
    answer_ = std::move(answer);
}

void Reads::begin(const Locked&, const Filling& filling, SlotPlaces& submitted) {
    Pool& pool = pools_[filling.place.pool];
    Record& record = at(filling.place);
    record = {};
    static_cast<Filling&>(record) = filling;
    record.parts_left = 1;
    if (filling.below == kNoSlot) record.landing = pool.landings.take();
    if (filling.below == kNoSlot && record.landing == kNoSlot) {
        pool.waiting.push_back(filling.place.slot);
    } else {
        submitted.push_back(filling.place);
    }
}

void Reads::go_on(const Locked&, size_t pool_index, SlotPlaces& submitted) {
    Pool& pool = pools_[pool_index];
    while (!pool.waiting.empty()) {
        const size_t landing = pool.landings.take();
        if (landing == kNoSlot) return;
        const size_t slot = pool.waiting.front();
        pool.waiting.pop_front();
        pool.records[slot].landing = landing;
        submitted.push_back({pool_index, slot});
    }
}

Reads::Stuck Reads::stuck(const Locked&) const {
    for (size_t i = 0; i < pools_.size(); ++i) {
        const Pool& pool = pools_[i];
        if (pool.waiting.empty() || pool.landings.any_taken()) continue;
        if (EventPtr copy = pool.landings.next_free()) return {i, std::move(copy)};
    }
    return {};
}

bool Reads::withdraw(const Locked&, SlotPlace place) {
    return std::erase(pools_[place.pool].waiting, place.slot) > 0;
}

void Reads::withdraw_all(const Locked&) {
    for (Pool& pool : pools_) pool.waiting.clear();
}

// What is copied comes last: the drive takes longer.
void Reads::submit(SlotPlaces& places) {
    const auto copied = std::stable_partition(places.begin(), places.end(),
                                              [&](const SlotPlace& place) { return !at(place).copied(); });
    const auto reads = static_cast<size_t>(copied - places.begin());
    std::sort(places.begin(), copied, [&](const SlotPlace& a, const SlotPlace& b) {
        return place_on_drive(at(a).key) < place_on_drive(at(b).key);
    });
    for (const SlotPlace& place : std::span(places).first(reads)) submit_one(place, kPiecesAtOnce / reads);
    for (const SlotPlace& place : std::span(places).subspan(reads)) answer_({.tag = tag_of(place)});
}

// A record that is read alone is cut to up to `pieces`, since one transfer does not fill the drive's channels.
void Reads::submit_one(SlotPlace place, size_t pieces) {
    Record& record = at(place);
    SlotMemory& memory = *pools_[place.pool].memory;
    const uint64_t piece_bytes =
        std::max(kLeastPieceBytes, round_up(memory.slot_bytes() / std::max<size_t>(pieces, 1), kPageBytes));
    const uint64_t tag = tag_of(place);
    std::vector<ReadRequest> requests;
    try {
        std::byte* const landing = bytes_of(record);
        for (const ExpertRead& part : catalogue_.reads(record.key.layer, record.key.expert)) {
            cut({part.source.file, part.source.offset, part.source.bytes, landing + part.slot_offset, tag}, piece_bytes,
                requests);
        }
        if (requests.empty()) fail(ErrorCode::kInvalidFile, "the checkpoint has no bytes for it");
        record.parts_left = requests.size();
    } catch (...) {
        record.parts_left = 1;
        answer_({.tag = tag, .error = std::current_exception()});
        return;
    }
    reader_->submit(requests);
}

bool Reads::part_done(const Locked&, const ReadResult& result) {
    Record& record = at(place_of(result.tag));
    record.transferred += result.transferred;
    record.cancelled = record.cancelled || result.cancelled;
    if (!record.failure && result.error) record.failure = failure_of(result.error);
    return --record.parts_left == 0;
}

// The slot is in flight, so nobody else changes its record or its memory.
ReadOutcome Reads::finish(SlotPlace place) {
    SlotMemory& memory = *pools_[place.pool].memory;
    const Record& record = at(place);
    ReadOutcome outcome{record, record.transferred, record.cancelled, record.failure, nullptr, false, nullptr};
    if (outcome.failure || outcome.cancelled) return outcome;
    try {
        if (!record.copied()) {
            check(record);
            arrange(record);
        }
        save(record, outcome);
        outcome.arrived = record.below == kNoSlot ? memory.landed(record.landing, place.slot)
                                                  : memory.fill(place.slot, bytes_of(record));
    } catch (...) {
        outcome.failure = failure_of(std::current_exception());
    }
    return outcome;
}

void Reads::end(const Locked&, const ReadOutcome& outcome) {
    Record& record = at(outcome.place);
    const size_t landing = std::exchange(record.landing, kNoSlot);
    if (landing != kNoSlot) pools_[outcome.place.pool].landings.give_back(landing, outcome.arrived);
}

// What cannot be saved is read again when it is wanted.
void Reads::save(const Record& record, ReadOutcome& outcome) {
    if (record.saved_to == kNoSlot) return;
    const Pool& pool = pools_[record.place.pool];
    try {
        outcome.saved = pool.memory->save(record.place.slot, pool.below->land_at(record.saved_to, record.saved_to));
        outcome.is_saved = true;
    } catch (const Error& error) {
        log_debug("an expert was not kept in memory: {}", error.what());
    }
}

std::byte* Reads::bytes_of(const Record& record) const {
    const Pool& pool = pools_[record.place.pool];
    return record.below == kNoSlot ? pool.memory->land_at(record.landing, record.place.slot)
                                   : pool.below->land_at(record.below, record.below);
}

void Reads::check(const Record& record) {
    uint8_t& verified = verified_[index(record.key)];
    if (!checks_.checksums || (verified != 0 && !checks_.every_read)) return;
    const auto wanted = catalogue_.checksum ? catalogue_.checksum(record.key.layer, record.key.expert) : std::nullopt;
    if (wanted) {
        const uint64_t found = XXH3_64bits(bytes_of(record), pools_[record.place.pool].memory->slot_bytes());
        if (found != *wanted) {
            fail(ErrorCode::kIo, "{}: checksum {:016x}, but {:016x} was read; pack the model again if it stays so",
                 where(record.key), *wanted, found);
        }
    }
    verified = 1;
}

void Reads::arrange(const Record& record) {
    const auto layer = static_cast<size_t>(record.key.layer);
    if (catalogue_.arrangement_bytes.empty() || !catalogue_.arrangement_bytes[layer]) return;
    const size_t bytes = pools_[record.place.pool].memory->slot_bytes();
    const std::lock_guard lock(arranging_);
    catalogue_.arrange(record.key.layer, {bytes_of(record), bytes}, arrangement_);
}

std::string Reads::where(const ExpertKey& key) const {
    const std::vector<ExpertRead> parts = catalogue_.reads(key.layer, key.expert);
    if (parts.empty() || parts.front().source.file >= catalogue_.files.size()) return "the checkpoint";
    return fmt::format("{}: at offset {}", catalogue_.files[parts.front().source.file].string(),
                       parts.front().source.offset);
}

}  // namespace sluice
