#include "experts/row_table.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <span>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "tensor/weight_view.h"

namespace sluice {

namespace {

constexpr uint64_t kKeptBytes = 8 << 20;
// Rows are single pages far from each other: what counts is how many are asked for at a time.
constexpr size_t kReadsAtOnce = 16;
// What lies between rows that are read together may take so much, and as much as the rows themselves.
constexpr uint64_t kStagedBytes = 64 << 10;
constexpr uint64_t kTagBits = 32;  // of the stretch within its fetch

// Of rows that were read last.
uint64_t kept_bytes(uint64_t table_bytes) {
    return std::min(kKeptBytes, table_bytes);
}

}  // namespace

struct RowFetch::Impl {
    // A part of a row that is read.
    struct Part {
        ByteRange from;
        std::byte* to = nullptr;
        uint32_t row = 0;  // within its fetch
    };

    // What is read at once: a part or, past the page cache, several that share pages, which are parted behind.
    struct Stretch {
        ByteRange from;
        size_t first = 0, count = 1;  // of the parts
        size_t staged = 0;            // where several land

        uint64_t end() const { return from.offset + from.bytes; }
        bool shares_page(const ByteRange& next) const {
            return next.file == from.file && next.offset / kPageBytes <= (end() - 1) / kPageBytes;
        }
    };

    RowTable* table = nullptr;
    std::vector<int64_t> rows;    // ascending, each once
    std::vector<uint32_t> place;  // in `rows`, of each that was asked for
    std::vector<std::byte> bytes;
    std::vector<Part> parts;  // as they lie on the drive
    std::vector<Stretch> stretches;
    std::vector<std::byte> staging;
    std::vector<uint8_t> parts_left;  // of each row
    size_t parts_left_in_all = 0;
    std::unordered_map<uint32_t, ReadFailure> failures;
    std::vector<uint32_t> missing;  // were not here when they were asked for
    uint64_t answers_before = 0;    // of the drive, when somebody began to wait
    bool given_up = false;          // by whoever waited: what comes later is not looked at
    std::condition_variable changed;

    std::byte* row(size_t index) { return bytes.data() + index * table->row_bytes_; }
};

void RowFetch::wait() {
    if (impl_) impl_->table->wait(*impl_);
}

std::exception_ptr RowFetch::error(size_t index) const {
    const auto found = impl_->failures.find(impl_->place[index]);
    if (found == impl_->failures.end()) return nullptr;
    return std::make_exception_ptr(Error(found->second.code, found->second.text));
}

void RowFetch::decode(size_t index, float* out) const {
    const RowTableFiles& files = impl_->table->files_;
    const WeightFormat& format = files.source.format();
    const int64_t columns = files.source.columns();
    const std::byte* data = impl_->row(impl_->place[index]);
    const std::byte* scales = data + format.data_row_bytes(columns);
    const bool common = !files.common_scale.empty();
    const WeightView view{.format = format,
                          .rows = 1,
                          .columns = columns,
                          .data = data,
                          .scales = common ? files.common_scale.data() : scales,
                          .zero_points = scales + (common ? 0 : format.scale_row_bytes(columns))};
    decode_row(view, 0, out);
}

RowTableFiles RowTableFiles::of(const Checkpoint& checkpoint, int layer) {
    RowTableFiles files;
    for (const CheckpointFile& file : checkpoint.files()) files.paths.push_back(file.path);
    files.source = checkpoint.row_table(layer);
    if (files.source.common_scale.bytes > 0) {
        const std::span<const std::byte> scale = checkpoint.mapped(files.source.common_scale);
        files.common_scale.assign(scale.begin(), scale.end());
    }
    files.label = fmt::format("the n-gram table of layer {}", layer);
    return files;
}

RowTable::RowTable(RowTableFiles files, const RowTableOptions& options, const MakeReader& make_reader)
    : files_(std::move(files)),
      options_(options),
      row_bytes_(files_.source.row_bytes()),
      cache_(RowCache::rows_in(kept_bytes(files_.source.bytes()), row_bytes_), row_bytes_) {
    const auto answer = [this](const ReadResult& result) { completed(result); };
    if (make_reader) {
        reader_ = make_reader(answer);
        return;
    }
    const ReaderOptions reading{.kind = options.reader,
                                .direct = options.direct_io,
                                .depth = kReadsAtOnce,
                                .record_bytes = row_bytes_,
                                .read_bytes = options.read_bytes + files_.source.bytes(),
                                .reserved_bytes = options.reserved_bytes};
    reader_ = open_reader(files_.paths, reading, answer);
}

RowTable::~RowTable() {
    reader_.reset();
}

uint64_t RowTable::memory_bytes(uint64_t table_bytes) {
    return kept_bytes(table_bytes) + kStagedBytes + std::min(kReadsAtOnce * BounceBuffers::kBytes, table_bytes);
}

uint64_t RowTable::fetch_bytes(uint64_t row_bytes, uint64_t rows) {
    const uint64_t of_part = sizeof(RowFetch::Impl::Part) + sizeof(RowFetch::Impl::Stretch) + sizeof(ReadRequest);
    return rows * (2 * row_bytes + sizeof(int64_t) + 2 * sizeof(uint32_t) + 1 + 3 * of_part);
}

ExpertCounters RowTable::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

RowFetch RowTable::fetch(const std::vector<int64_t>& rows) {
    auto fetch = std::make_shared<RowFetch::Impl>();
    fetch->table = this;
    fetch->rows = rows;
    std::ranges::sort(fetch->rows);
    const auto repeats = std::ranges::unique(fetch->rows);
    fetch->rows.erase(repeats.begin(), repeats.end());
    for (const int64_t row : rows) {
        const auto found = std::ranges::lower_bound(fetch->rows, row);
        fetch->place.push_back(static_cast<uint32_t>(found - fetch->rows.begin()));
    }
    fetch->bytes.resize(fetch->rows.size() * row_bytes_);
    fetch->parts_left.resize(fetch->rows.size());
    for (uint32_t i = 0; i < fetch->rows.size(); ++i) {
        if (const std::byte* kept = cache_.find(fetch->rows[i])) {
            std::memcpy(fetch->row(i), kept, row_bytes_);
            continue;
        }
        fetch->missing.push_back(i);
    }
    plan(*fetch);
    uint64_t number = 0;
    {
        const std::lock_guard lock(mutex_);
        counters_.row_hits += fetch->rows.size() - fetch->missing.size();
        counters_.row_reads += fetch->missing.size();
        if (fetch->missing.empty()) return RowFetch(fetch);
        number = ++fetches_;
        under_way_[number] = fetch;
    }
    submit(number, *fetch);
    return RowFetch(fetch);
}

void RowTable::plan(RowFetch::Impl& fetch) const {
    for (const uint32_t index : fetch.missing) {
        std::byte* place = fetch.row(index);
        for (const ByteRange& part : files_.source.row(fetch.rows[index])) {
            if (part.bytes == 0) continue;
            fetch.parts.push_back({.from = part, .to = place, .row = index});
            ++fetch.parts_left[index];
            place += part.bytes;
        }
    }
    fetch.parts_left_in_all = fetch.parts.size();
    std::ranges::sort(fetch.parts, {},
                      [](const RowFetch::Impl::Part& part) { return std::pair(part.from.file, part.from.offset); });
    size_t staged = 0;
    for (size_t i = 0; i < fetch.parts.size(); ++i) {
        const ByteRange& next = fetch.parts[i].from;
        RowFetch::Impl::Stretch* last =
            fetch.stretches.empty() || !reader_->direct() ? nullptr : &fetch.stretches.back();
        if (last != nullptr && last->shares_page(next)) {
            const uint64_t bytes = next.offset + next.bytes - last->from.offset;
            if (last->count == 1) last->staged = staged;
            if (last->staged + bytes <= kStagedBytes + fetch.bytes.size()) {
                staged = last->staged + bytes;
                last->from.bytes = bytes;
                ++last->count;
                continue;
            }
        }
        fetch.stretches.push_back({.from = next, .first = i});
    }
    fetch.staging.resize(staged);
}

void RowTable::submit(uint64_t number, RowFetch::Impl& fetch) {
    std::vector<ReadRequest> requests;
    for (size_t i = 0; i < fetch.stretches.size(); ++i) {
        const RowFetch::Impl::Stretch& stretch = fetch.stretches[i];
        const bool alone = stretch.count == 1;
        requests.push_back(
            {.file = stretch.from.file,
             .offset = stretch.from.offset,
             .bytes = stretch.from.bytes,
             .destination = alone ? fetch.parts[stretch.first].to : fetch.staging.data() + stretch.staged,
             .tag = number << kTagBits | i});
    }
    reader_->submit(requests);
}

void RowTable::completed(const ReadResult& result) {
    const std::lock_guard lock(mutex_);
    if (!result.cancelled) {
        ++answers_;
        drive_gone_ = false;
    }
    const auto found = under_way_.find(result.tag >> kTagBits);
    const std::shared_ptr<RowFetch::Impl> fetch = found->second;
    note(*fetch, result);
    if (fetch->parts_left_in_all == 0) {
        under_way_.erase(found);
        fetch->changed.notify_all();
    }
}

void RowTable::note(RowFetch::Impl& fetch, const ReadResult& result) {
    const RowFetch::Impl::Stretch& stretch = fetch.stretches[static_cast<uint32_t>(result.tag)];
    const std::span<const RowFetch::Impl::Part> parts = std::span(fetch.parts).subspan(stretch.first, stretch.count);
    counters_.bytes_read += result.transferred;
    counters_.row_bytes += result.transferred;
    fetch.parts_left_in_all -= parts.size();
    for (const RowFetch::Impl::Part& part : parts) --fetch.parts_left[part.row];
    if (fetch.given_up) return;
    if (!result.error && !result.cancelled) {
        if (parts.size() == 1) return;
        const std::byte* landed = fetch.staging.data() + stretch.staged;
        for (const RowFetch::Impl::Part& part : parts) {
            std::memcpy(part.to, landed + (part.from.offset - stretch.from.offset), part.from.bytes);
        }
        return;
    }
    const ReadFailure why = result.error ? failure_of(result.error) : ReadFailure{ErrorCode::kCancelled, "closed"};
    for (const RowFetch::Impl::Part& part : parts) {
        ReadFailure failure = why;
        failure.text += fmt::format(" (row {} of {})", fetch.rows[part.row], files_.label);
        counters_.failed_reads += fetch.failures.emplace(part.row, std::move(failure)).second;
    }
}

void RowTable::wait(RowFetch::Impl& fetch) {
    std::unique_lock lock(mutex_);
    if (fetch.parts_left_in_all > 0) {
        const Stopwatch watch;
        fetch.answers_before = answers_;
        while (fetch.parts_left_in_all > 0) {
            const double most = options_.stall_seconds_allowed;
            const double allowed = (drive_gone_ ? std::min(most, kSecondsForAGoneDrive) : most) - watch.seconds();
            if (allowed <= 0) {
                give_up(fetch);
                break;
            }
            fetch.changed.wait_for(lock, std::chrono::duration<double>(allowed));
        }
        counters_.stall_seconds += watch.seconds();
    }
    keep(fetch);
}

// What has not come is an error for whoever waits. The reads may still end; their fetch is kept until they do.
void RowTable::give_up(RowFetch::Impl& fetch) {
    fetch.given_up = true;
    if (answers_ == fetch.answers_before) drive_gone_ = true;
    for (const uint32_t index : fetch.missing) {
        if (fetch.parts_left[index] == 0 || fetch.failures.contains(index)) continue;
        const ByteRange place = files_.source.row(fetch.rows[index]).front();
        fetch.failures[index] = {
            ErrorCode::kIo, fmt::format("{} at offset {}: no answer from the drive for {:.0f} s (row {} of {})",
                                        files_.paths[place.file].string(), place.offset, options_.stall_seconds_allowed,
                                        fetch.rows[index], files_.label)};
        ++counters_.failed_reads;
    }
}

void RowTable::keep(RowFetch::Impl& fetch) {
    for (const uint32_t index : fetch.missing) {
        if (fetch.failures.contains(index)) continue;
        std::byte* place = cache_.insert(fetch.rows[index]);
        if (place != nullptr) std::memcpy(place, fetch.row(index), row_bytes_);
    }
}

}  // namespace sluice
