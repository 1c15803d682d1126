// Rows of a table on the drive: every one that is handed out is exact, every failure is told to whoever needed the row
// and to nobody else, and nothing hangs.

#include "experts/row_table.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/float_types.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

constexpr int64_t kColumns = 40, kRowsOfPart = 700, kParts = 3;

// BF16 rows in parts of two files, at places that no page knows of.
class FileTable {
  public:
    FileTable() {
        std::mt19937 random(5);
        std::vector<std::vector<std::byte>> contents(2, std::vector<std::byte>(333));
        for (int64_t part = 0; part < kParts; ++part) {
            const auto file = static_cast<size_t>(part % 2);
            WeightSource source;
            source.format = WeightFormat::floating(DType::kBF16);
            source.rows = kRowsOfPart;
            source.columns = kColumns;
            source.data = {.file = static_cast<uint32_t>(file), .offset = contents[file].size()};
            for (int64_t i = 0; i < kRowsOfPart * kColumns; ++i) {
                const uint16_t value = float_to_bf16(std::normal_distribution<float>()(random));
                values_.push_back(bf16_to_float(value));
                const auto bytes = std::as_bytes(std::span(&value, 1));
                contents[file].insert(contents[file].end(), bytes.begin(), bytes.end());
            }
            source.data.bytes = contents[file].size() - source.data.offset;
            files_.source.first_rows.push_back(part * kRowsOfPart);
            files_.source.parts.push_back(source);
        }
        for (size_t file = 0; file < contents.size(); ++file) {
            files_.paths.push_back(folder_ / ("table-" + std::to_string(file)));
            AtomicFile out(files_.paths.back());
            out.append(contents[file]);
            out.commit();
        }
        files_.label = "the table";
    }

    const RowTableFiles& files() const { return files_; }
    int64_t rows() const { return kParts * kRowsOfPart; }

    bool matches(const RowFetch& fetch, size_t index, int64_t row) const {
        std::vector<float> decoded(kColumns);
        fetch.decode(index, decoded.data());
        return std::equal(decoded.begin(), decoded.end(), values_.begin() + row * kColumns);
    }

    FaultyReader::Source source() const {
        auto opened = std::make_shared<std::vector<File>>();
        for (const auto& path : files_.paths) opened->push_back(File::open(path));
        return [opened](const ReadRequest& request) {
            (*opened)[request.file].read_at(request.offset, {request.destination, request.bytes});
        };
    }

    std::vector<int64_t> random_rows(std::mt19937& random, size_t count) const {
        std::vector<int64_t> rows;
        for (size_t i = 0; i < count; ++i) rows.push_back(static_cast<int64_t>(random()) % this->rows());
        return rows;
    }

  private:
    TemporaryFolder folder_;
    RowTableFiles files_;
    std::vector<float> values_;
};

struct RowTableTest : ::testing::Test {
    RowTable::MakeReader faulty(const Faults& faults) {
        return [this, faults](Reader::Completed completed) {
            auto made = std::make_unique<FaultyReader>(model.source(), faults, 3, std::move(completed));
            reader = made.get();
            return made;
        };
    }

    const FileTable model;
    FaultyReader* reader = nullptr;
};

TEST_F(RowTableTest, RowsOfEveryPartInAnyOrderAndTwice) {
    for (const When direct : {When::kOff, When::kOn}) {
        RowTable table(model.files(), {.direct_io = direct});
        std::vector<int64_t> rows = {model.rows() - 1, 0, kRowsOfPart, kRowsOfPart - 1, 0, 2 * kRowsOfPart, 5, 5};
        RowFetch fetch = table.fetch(rows);
        fetch.wait();
        for (size_t i = 0; i < rows.size(); ++i) {
            EXPECT_EQ(fetch.error(i), nullptr);
            EXPECT_TRUE(model.matches(fetch, i, rows[i])) << rows[i];
        }
        EXPECT_EQ(table.counters().row_reads, 6u) << "each once";
        EXPECT_GE(table.counters().bytes_read, 6u * 2 * kColumns);
        EXPECT_EQ(table.counters().bytes_read, table.counters().row_bytes);
    }
}

// The table begins at byte 333: its first 100 rows lie in three pages, row 500 in one of its own.
TEST_F(RowTableTest, APageIsReadOnce) {
    if (!direct_io_works(model.files().paths[0])) GTEST_SKIP() << "there are no direct reads here";
    RowTable table(model.files(), {.direct_io = When::kOn});
    std::vector<int64_t> rows = {500};
    for (int64_t row = 99; row >= 0; row -= 3) rows.push_back(row);
    RowFetch fetch = table.fetch(rows);
    fetch.wait();
    for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(fetch.error(i), nullptr);
        EXPECT_TRUE(model.matches(fetch, i, rows[i])) << rows[i];
    }
    EXPECT_LE(table.counters().row_bytes, 5 * kPageBytes);
    EXPECT_GE(table.counters().row_bytes, 4 * kPageBytes);
    EXPECT_EQ(table.counters().row_reads, rows.size());
}

TEST_F(RowTableTest, WhatWasReadLastIsKept) {
    RowTable table(model.files(), {});
    std::mt19937 random(3);
    for (int round = 0; round < 50; ++round) {
        const std::vector<int64_t> rows = model.random_rows(random, 100);
        RowFetch fetch = table.fetch(rows);
        fetch.wait();
        for (size_t i = 0; i < rows.size(); ++i) EXPECT_TRUE(model.matches(fetch, i, rows[i]));
    }
    const ExpertCounters counters = table.counters();
    EXPECT_GT(counters.row_hits, 0u);
    EXPECT_GT(counters.row_reads, 0u);
    // Less is kept than the table has, so that some were thrown out and read again.
    EXPECT_GT(counters.row_reads, static_cast<uint64_t>(model.rows()));
}

TEST_F(RowTableTest, AFailedReadIsToldToWhoeverNeedsTheRow) {
    RowTable table(model.files(), {}, faulty({.error = 0.1, .short_read = 0.1, .delay = 0.01}));
    std::mt19937 random(4);
    size_t failed = 0;
    for (int round = 0; round < 100; ++round) {
        const std::vector<int64_t> rows = model.random_rows(random, 60);
        RowFetch fetch = table.fetch(rows);
        if (random() % 8 == 0) continue;  // nobody waits
        fetch.wait();
        for (size_t i = 0; i < rows.size(); ++i) {
            const std::exception_ptr error = fetch.error(i);
            if (!error) {
                EXPECT_TRUE(model.matches(fetch, i, rows[i]));
                continue;
            }
            ++failed;
            try {
                std::rethrow_exception(error);
            } catch (const Error& told) {
                EXPECT_EQ(told.code(), ErrorCode::kIo);
                EXPECT_NE(std::string(told.what()).find("(row " + std::to_string(rows[i]) + " of the table)"),
                          std::string::npos)
                    << told.what();
            }
        }
    }
    EXPECT_GT(failed, 100u);
    EXPECT_GT(table.counters().failed_reads, 100u);
}

TEST_F(RowTableTest, ASilentDriveFailsWhoWaitsAndNobodyAfterItAnswers) {
    RowTable table(model.files(), {.stall_seconds_allowed = 1}, faulty({}));
    reader->pause();
    RowFetch silent = table.fetch({1, 2, 3});
    silent.wait();
    for (size_t i = 0; i < 3; ++i) EXPECT_NE(silent.error(i), nullptr);
    EXPECT_GE(table.counters().stall_seconds, 0.9);
    EXPECT_EQ(table.counters().failed_reads, 3u);
    reader->resume();
    RowFetch fetch = table.fetch({1, 2, 4});
    fetch.wait();
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(fetch.error(i), nullptr);
        EXPECT_TRUE(model.matches(fetch, i, i < 2 ? static_cast<int64_t>(i) + 1 : 4));
        EXPECT_NE(silent.error(i), nullptr) << "what comes late changes nothing";
    }
}

TEST_F(RowTableTest, GoesAwayWhileReadsAreUnderWay) {
    for (int round = 0; round < 20; ++round) {
        RowTable table(model.files(), {}, faulty({.delay = 0.5}));
        std::mt19937 random(static_cast<unsigned>(round));
        const RowFetch first = table.fetch(model.random_rows(random, 50));
        const RowFetch second = table.fetch(model.random_rows(random, 50));
    }
}

TEST_F(RowTableTest, ACutFileIsNamed) {
    RowTableFiles files = model.files();
    std::filesystem::resize_file(files.paths[1], 333 + 2 * kColumns);
    RowTable table(files, {.direct_io = When::kOff});
    RowFetch fetch = table.fetch({0, kRowsOfPart, kRowsOfPart + 1});
    fetch.wait();
    EXPECT_EQ(fetch.error(0), nullptr);
    EXPECT_EQ(fetch.error(1), nullptr);
    ASSERT_NE(fetch.error(2), nullptr);
    try {
        std::rethrow_exception(fetch.error(2));
    } catch (const Error& told) {
        EXPECT_NE(std::string(told.what()).find(files.paths[1].string()), std::string::npos) << told.what();
    }
}

}  // namespace
}  // namespace sluice::testing
