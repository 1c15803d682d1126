#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "device/slot_memory.h"
#include "experts/expert_catalogue.h"
#include "experts/landings.h"
#include "experts/locked.h"
#include "experts/reader.h"
#include "experts/slot_place.h"

namespace sluice {

// A record on its way to a slot.
struct Filling {
    SlotPlace place;
    ExpertKey key;
    size_t below = kNoSlot;     // slot of the host's tier that it is copied from; kNoSlot: it is read
    size_t saved_to = kNoSlot;  // slot there that what this one held is saved to; kNoSlot: it is not

    bool copied() const { return below != kNoSlot; }
};

// What came of it.
struct ReadOutcome : Filling {
    uint64_t transferred = 0;  // bytes
    bool cancelled = false;    // a part of it never started
    std::optional<ReadFailure> failure;
    EventPtr arrived;       // when it is in its slot; null: it is
    bool is_saved = false;  // what the slot held, or will be when the event is done
    EventPtr saved;
};

// The reads of records into slots: cut into pieces, submitted as they lie on the drive, counted down, checked. As many
// are under way as there are landing areas; the others wait for one. What the tier in the host's memory has is copied:
// a read without pieces.
//
// begin() and go_on() list what to submit() once the store's mutex is free. The reader answers each piece; part_done()
// says which answer is a record's last, finish() checks the record and hands it to its slot, end() ends the read.
class Reads {
  public:
    struct Checks {
        bool checksums = true;    // of packed records, when they are first read
        bool every_read = false;  // whenever they are read
    };

    Reads(const ExpertCatalogue& catalogue, Checks checks);

    void add_pool(SlotMemory& memory, SlotMemory* below);  // the next one; `below`: the host's tier, if it has one
    void use_reader(std::unique_ptr<Reader> reader, Reader::Completed answer);
    const Reader& reader() const { return *reader_; }
    void close() { reader_.reset(); }

    void begin(const Locked&, const Filling& filling, SlotPlaces& submitted);
    void go_on(const Locked&, size_t pool, SlotPlaces& submitted);
    bool part_done(const Locked&, const ReadResult& result);
    void end(const Locked&, const ReadOutcome& outcome);
    bool is_copy(const Locked&, SlotPlace place) const { return at(place).copied(); }
    bool any_waits_for_landing(const Locked&, size_t pool) const { return !pools_[pool].waiting.empty(); }
    // A pool whose reads all wait for a landing area, so that none that ends will go on with them, and the copy that
    // frees one; null: there is none.
    struct Stuck {
        size_t pool = 0;
        EventPtr copy;
    };
    Stuck stuck(const Locked&) const;
    // The read is not submitted any more, had it been waiting for a landing area. The caller answers it.
    bool withdraw(const Locked&, SlotPlace place);
    void withdraw_all(const Locked&);  // unanswered: nobody waits for them

    void submit(SlotPlaces& places);
    void cancel(SlotPlace place) { reader_->cancel(tag_of(place)); }
    ReadOutcome finish(SlotPlace place);

    uint32_t place_on_drive(const ExpertKey& key) const { return drive_order_[index(key)]; }
    std::string where(const ExpertKey& key) const;  // file and offset, for messages
    static uint64_t tag_of(SlotPlace place) { return static_cast<uint64_t>(place.pool) << 32 | place.slot; }
    static SlotPlace place_of(uint64_t tag) { return {tag >> 32, tag & UINT32_MAX}; }

  private:
    struct Record : Filling {
        size_t landing = kNoSlot;
        size_t parts_left = 0;
        uint64_t transferred = 0;  // bytes, by the parts that are done
        bool cancelled = false;
        std::optional<ReadFailure> failure;
    };
    struct Pool {
        SlotMemory* memory;
        SlotMemory* below;            // null: none
        std::vector<Record> records;  // [slots]
        Landings landings;
        std::deque<size_t> waiting;  // slots whose reads have no landing area yet
    };

    Record& at(SlotPlace place) { return pools_[place.pool].records[place.slot]; }
    const Record& at(SlotPlace place) const { return pools_[place.pool].records[place.slot]; }
    size_t index(const ExpertKey& key) const {
        return static_cast<size_t>(key.layer) * static_cast<size_t>(catalogue_.experts) +
               static_cast<size_t>(key.expert);
    }
    void order_by_drive();
    void submit_one(SlotPlace place, size_t pieces);
    std::byte* bytes_of(const Record& record) const;  // where it is read to, or copied from
    void save(const Record& record, ReadOutcome& outcome);
    void check(const Record& record);
    void arrange(const Record& record);

    const ExpertCatalogue& catalogue_;
    Checks checks_;
    std::vector<uint8_t> verified_;      // [layers * experts]
    std::vector<uint32_t> drive_order_;  // [layers * experts]: rank of the record by file and offset
    std::vector<Pool> pools_;
    // Records are arranged one at a time: that is faster than drives are, and the memory for it stays one record's.
    std::mutex arranging_;
    std::vector<std::byte> arrangement_;
    std::unique_ptr<Reader> reader_;
    Reader::Completed answer_;
};

}  // namespace sluice
