// Reads of the expert store: how they are issued, checked, answered and given up.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "experts/store_core.h"

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

void ExpertStoreCore::submit(ReadList& reads) {
    const auto place = [this](const std::pair<size_t, size_t>& read) {
        return drive_order_[index(pools_[read.first]->reads[read.second].key)];
    };
    if (reads.size() > 1) {
        std::sort(reads.begin(), reads.end(), [&](const auto& a, const auto& b) { return place(a) < place(b); });
    }
    for (const auto& [pool, slot] : reads) submit_one(pool, slot, kPiecesAtOnce / reads.size());
}

// A record that is read alone is cut to up to `pieces`, since one transfer does not fill the drive's channels.
void ExpertStoreCore::submit_one(size_t pool_index, size_t slot, size_t pieces) {
    Pool& pool = *pools_[pool_index];
    SlotRead& read = pool.reads[slot];
    const uint64_t piece_bytes =
        std::max(kLeastPieceBytes, round_up(pool.record_bytes / std::max<size_t>(pieces, 1), kPageBytes));
    const uint64_t tag = tag_of(pool_index, slot);
    std::vector<ReadRequest> requests;
    read.transferred = 0;
    try {
        std::byte* const landing = pool.memory->landing(slot);
        for (const ExpertRead& part : catalogue_.reads(read.key.layer, read.key.expert)) {
            cut({part.source.file, part.source.offset, part.source.bytes, landing + part.slot_offset, tag}, piece_bytes,
                requests);
        }
        if (requests.empty()) fail(ErrorCode::kInvalidFile, "the checkpoint has no bytes for it");
        read.parts_left = requests.size();
        read.cancelled = false;
        read.failure.reset();
    } catch (...) {
        read.parts_left = 1;
        completed({.tag = tag, .error = std::current_exception()});
        return;
    }
    reader_->submit(requests);
}

void ExpertStoreCore::completed(const ReadResult& result) {
    const size_t pool_index = result.tag >> 32;
    const size_t slot = result.tag & UINT32_MAX;
    Pool& pool = *pools_[pool_index];
    SlotRead& read = pool.reads[slot];
    ExpertKey key;
    {
        const std::scoped_lock lock(mutex_);
        read.transferred += result.transferred;
        read.cancelled = read.cancelled || result.cancelled;
        if (!read.failure && result.error) read.failure = failure_of(result.error);
        if (--read.parts_left > 0) return;
        key = read.key;
    }
    // The slot is in flight, so nobody else changes its read or its memory.
    std::optional<Failure> failure = read.failure;
    if (!failure && !read.cancelled) failure = finish_record(pool, slot, key);

    ReadList reads;
    {
        const std::scoped_lock lock(mutex_);
        counters_.bytes_read += read.transferred;
        if (!read.cancelled || failure || read.waiters.empty()) end_read(pool_index, slot, failure.has_value());
        if (failure) {
            ++counters_.failed_reads;
            pool.cache.failed(slot);
            hand_out(pool_index, slot, failure);
        } else if (!read.cancelled) {
            pool.cache.landed(slot);
            hand_out(pool_index, slot, std::nullopt);
        } else if (read.waiters.empty()) {
            pool.cache.failed(slot);
        } else {
            // Somebody joined between the decision to cancel and the cancelling.
            ++counters_.reads;
            reads.emplace_back(pool_index, slot);
        }
        pump(pool_index, reads);
        issue_foreseen(reads);
        issue_warm(reads);
        if (reads.empty()) return;
        ++submitting_;
    }
    submit(reads);
    const std::scoped_lock lock(mutex_);
    --submitting_;
    submitted_.notify_all();
}

ExpertStoreCore::Failure ExpertStoreCore::failure_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& caught) {
        return {caught.code(), caught.what()};
    } catch (const std::exception& caught) {
        return {ErrorCode::kIo, caught.what()};
    } catch (...) {
        return {ErrorCode::kIo, "the read failed"};
    }
}

// What is wrong with a record that was read; nothing when it is in its slot.
std::optional<ExpertStoreCore::Failure> ExpertStoreCore::finish_record(const Pool& pool, size_t slot,
                                                                       const ExpertKey& key) {
    try {
        check_record(pool, slot, key);
        pool.memory->landed(slot, pool.record_bytes);
        return std::nullopt;
    } catch (...) {
        return failure_of(std::current_exception());
    }
}

void ExpertStoreCore::check_record(const Pool& pool, size_t slot, const ExpertKey& key) {
    uint8_t& verified = verified_[index(key)];
    if (!options_.verify_checksums || (verified != 0 && !options_.verify_every_read)) return;
    const auto wanted = catalogue_.checksum ? catalogue_.checksum(key.layer, key.expert) : std::nullopt;
    if (wanted) {
        const uint64_t found = XXH3_64bits(pool.memory->landing(slot), pool.record_bytes);
        if (found != *wanted) {
            fail(ErrorCode::kIo, "{}: checksum {:016x}, but {:016x} was read; pack the model again if it stays so",
                 where(key), *wanted, found);
        }
    }
    verified = 1;
}

std::string ExpertStoreCore::where(const ExpertKey& key) const {
    const std::vector<ExpertRead> parts = catalogue_.reads(key.layer, key.expert);
    if (parts.empty() || parts.front().source.file >= catalogue_.files.size()) return "the checkpoint";
    return fmt::format("{}: at offset {}", catalogue_.files[parts.front().source.file].string(),
                       parts.front().source.offset);
}

// Tells everyone who waits for the slot; with an error, each of them loses its lease.
void ExpertStoreCore::hand_out(size_t pool_index, size_t slot, const std::optional<Failure>& failure) {
    Pool& pool = *pools_[pool_index];
    SlotRead& read = pool.reads[slot];
    for (Stream* stream : read.waiters) {
        std::erase(stream->in_flight, slot);
        if (!failure) {
            stream->ready.push_back({read.key.expert, pool_index, slot, nullptr});
        } else {
            const Error error(failure->code, fmt::format("{} (expert {} of layer {})", failure->text, read.key.expert,
                                                         read.key.layer));
            stream->ready.push_back({read.key.expert, pool_index, kNoSlot, std::make_exception_ptr(error)});
            --stream->leases;
            pool.cache.release(slot);
            settle(*stream, false);
        }
        stream->changed.notify_all();
    }
    read.waiters.clear();
}

// The drive did not answer in time: what the stream waits for becomes errors. Reads that have started keep their slots
// until they end, since the system may still write there.
void ExpertStoreCore::give_up(Stream& stream, std::vector<uint64_t>& cancel) {
    Pool& pool = *pools_[stream.pool];
    for (const size_t slot : stream.in_flight) {
        stream.ready.push_back(stalled(stream.layer, pool.reads[slot].key.expert));
        std::erase(pool.reads[slot].waiters, &stream);
        pool.cache.release(slot);
        --stream.leases;
        if (pool.cache.leases(slot) == 0) cancel.push_back(tag_of(stream.pool, slot));
    }
    stream.in_flight.clear();
    const bool was_waiting = stream.waiting();
    // An admitted stream below its promise finds no slot only because abandoned reads hold them all.
    if (was_waiting && stream.admitted && stream.leases < stream.promised && stream.ready.empty()) {
        for (; stream.waiting(); ++stream.next_waiting) {
            stream.ready.push_back(stalled(stream.layer, stream.plan.waiting[stream.next_waiting]));
        }
    }
    counters_.failed_reads += stream.ready.size();
    settle(stream, was_waiting);
}

ReadyExpert ExpertStoreCore::stalled(int layer, int expert) const {
    const Error error(ErrorCode::kIo,
                      fmt::format("{}: no answer from the drive for {:.0f} s (expert {} of layer {})",
                                  where({layer, expert}), options_.stall_seconds_allowed, expert, layer));
    return {expert, 0, kNoSlot, std::make_exception_ptr(error)};
}

}  // namespace sluice
