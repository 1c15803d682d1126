#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/row_table_source.h"
#include "experts/reader.h"
#include "experts/row_cache.h"
#include "sluice/expert_counters.h"

namespace sluice {

class RowTable;

// Rows of a table that are on their way. Outlives no table.
class RowFetch {
  public:
    RowFetch() = default;

    // Waits until each of them has come or failed. Once, before what follows.
    void wait();
    // By the place in the list that was asked for. Null: the row is here.
    std::exception_ptr error(size_t index) const;
    void decode(size_t index, float* out) const;

    struct Impl;

  private:
    friend class RowTable;
    explicit RowFetch(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

    std::shared_ptr<Impl> impl_;
};

// What a row table is read of: a value.
struct RowTableFiles {
    std::vector<std::filesystem::path> paths;
    RowTableSource source;
    std::vector<std::byte> common_scale;
    std::string label;  // "the n-gram table of layer 1", for messages

    static RowTableFiles of(const Checkpoint& checkpoint, int layer);
};

struct RowTableOptions {
    ReaderKind reader = ReaderKind::kAuto;
    When direct_io = When::kAuto;
    uint64_t read_bytes = 0;  // of all that is read beside it, against memory; likewise what others take
    uint64_t reserved_bytes = 0;
    double stall_seconds_allowed = 60;  // a row that lands later is an error for those who wait for it
};

// A table of which rows are read from the drive when they are asked for: a row by itself, or the page that it lies in.
// A few that were read last are kept. One thread asks and waits; counters() may be called by any.
class RowTable {
  public:
    using MakeReader = std::function<std::unique_ptr<Reader>(Reader::Completed completed)>;

    RowTable(RowTableFiles files, const RowTableOptions& options, const MakeReader& make_reader = {});
    ~RowTable();
    RowTable(const RowTable&) = delete;
    RowTable& operator=(const RowTable&) = delete;

    int64_t columns() const { return files_.source.columns(); }

    // Begins to read the rows, in any order and as often as they come; each once, as they lie on the drive. Past the
    // page cache, rows that share a page are read together.
    RowFetch fetch(const std::vector<int64_t>& rows);

    ExpertCounters counters() const;  // since construction

    // Of memory: what is kept of a table and where direct reads land, and what a fetch of so many rows takes.
    static uint64_t memory_bytes(uint64_t table_bytes);
    static uint64_t fetch_bytes(uint64_t row_bytes, uint64_t rows);

  private:
    friend class RowFetch;

    void plan(RowFetch::Impl& fetch) const;
    void completed(const ReadResult& result);
    void note(RowFetch::Impl& fetch, const ReadResult& result);
    void submit(uint64_t number, RowFetch::Impl& fetch);
    void wait(RowFetch::Impl& fetch);
    void give_up(RowFetch::Impl& fetch);
    void keep(RowFetch::Impl& fetch);

    const RowTableFiles files_;
    const RowTableOptions options_;
    const size_t row_bytes_;
    RowCache cache_;
    mutable std::mutex mutex_;                                                 // of all that follows but the reader
    std::unordered_map<uint64_t, std::shared_ptr<RowFetch::Impl>> under_way_;  // until the drive has answered all
    uint64_t fetches_ = 0;
    uint64_t answers_ = 0;
    bool drive_gone_ = false;  // it has not answered for as long as is allowed, nor since
    ExpertCounters counters_;
    std::unique_ptr<Reader> reader_;
};

using RowTables = std::map<int, std::unique_ptr<RowTable>>;  // by layer

}  // namespace sluice
