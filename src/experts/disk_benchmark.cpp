#include "experts/disk_benchmark.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "experts/read_depth.h"

namespace sluice {

namespace {

// A file of bytes that no drive can compress. It has no name once it is there, so that however the process ends nothing
// is left behind.
class TemporaryFile {
  public:
    // `step` is called before every megabyte and may throw.
    TemporaryFile(const std::filesystem::path& folder, uint64_t bytes, const std::function<void()>& step) {
        try {
            std::string name = (folder / "sluice-bench-disk.tmp-XXXXXX").string();
            descriptor_ = ::mkstemp(name.data());
            if (descriptor_ < 0) fail(ErrorCode::kIo, "{}", errno_text(errno));
            ::unlink(name.c_str());
            write(bytes, step);
        } catch (const Error& error) {
            close();
            if (error.code() == ErrorCode::kCancelled) throw;
            fail(error.code(), "{}: no file of {} to read can be made there ({}); name a file of that size",
                 folder.string(), format_size(bytes), error.what());
        }
    }
    ~TemporaryFile() { close(); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    // By which this process can open it.
    std::filesystem::path path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

  private:
    void write(uint64_t bytes, const std::function<void()>& step) {
        std::mt19937_64 random(std::random_device{}());
        std::vector<uint64_t> block((1 << 20) / sizeof(uint64_t));
        const size_t block_bytes = block.size() * sizeof(uint64_t);
        for (uint64_t done = 0; done < bytes;) {
            step();
            for (uint64_t& word : block) word = random();
            const ssize_t written = ::pwrite(descriptor_, block.data(), block_bytes, static_cast<off_t>(done));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) fail(ErrorCode::kIo, "write: {}", errno_text(errno));
            done += static_cast<uint64_t>(written);
        }
        if (::fsync(descriptor_) != 0) fail(ErrorCode::kIo, "fsync: {}", errno_text(errno));
    }
    void close() {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = -1;
    }

    int descriptor_ = -1;
};

// Random reads of fewer records would meet the same ones again.
void check_size(const std::filesystem::path& path, const DiskBenchmark& benchmark) {
    constexpr uint64_t kLeastRecords = 16;
    if (benchmark.file_bytes / kLeastRecords >= benchmark.record_bytes) return;
    if (benchmark.temporary) {
        fail(ErrorCode::kInvalidFile,
             "{}: the file of {} that is made there is too small for random reads of {}; give `read_bytes` of {} "
             "at most, or name a larger file",
             path.string(), format_size(benchmark.file_bytes), format_size(benchmark.record_bytes),
             format_size(benchmark.file_bytes / kLeastRecords));
    }
    fail(ErrorCode::kInvalidFile,
         "{}: {} are too little for random reads of {}; name a file of {} or more, or a folder", path.string(),
         format_size(benchmark.file_bytes), format_size(benchmark.record_bytes),
         format_size(kLeastRecords * benchmark.record_bytes));
}

// Keeps `depth` reads under way until the time is over.
class ReadLoop {
  public:
    ReadLoop(uint64_t file_bytes, uint64_t record_bytes, size_t depth, double seconds)
        : record_bytes_(record_bytes),
          places_((file_bytes - record_bytes) / kPageBytes + 1),
          seconds_(seconds),
          started_(depth),
          buffers_(depth * round_up(record_bytes, kPageBytes)) {}

    void completed(const ReadResult& result) {
        bool more = false;
        {
            const std::scoped_lock lock(mutex_);
            const double now = watch_.seconds();
            latencies_.push_back(now - started_[result.tag]);
            if (result.error && !error_) error_ = result.error;
            more = now < seconds_ && !error_;
            if (!more) {
                finished_at_ = now;
                --open_;
                idle_.notify_all();
            }
        }
        if (more) read(result.tag);
    }

    // Throws what a read failed with.
    void run(Reader& reader, DiskBenchmarkRow& row) {
        reader_ = &reader;
        open_ = started_.size();
        watch_.restart();
        for (size_t place = 0; place < started_.size(); ++place) read(place);
        std::unique_lock lock(mutex_);
        idle_.wait(lock, [this] { return open_ == 0; });
        if (error_) std::rethrow_exception(error_);
        std::sort(latencies_.begin(), latencies_.end());
        row.reads = latencies_.size();
        row.bytes_per_second = static_cast<double>(row.reads * record_bytes_) / finished_at_;
        row.median_seconds = latencies_[latencies_.size() / 2];
        row.slowest_percent_seconds = latencies_[latencies_.size() * 99 / 100];
    }

  private:
    void read(size_t place) {
        uint64_t offset = 0;
        {
            const std::scoped_lock lock(mutex_);
            offset = random_() % places_ * kPageBytes;
            started_[place] = watch_.seconds();
        }
        std::byte* const to = buffers_.data() + place * round_up(record_bytes_, kPageBytes);
        const ReadRequest request{0, offset, record_bytes_, to, place};
        reader_->submit({&request, 1});
    }

    uint64_t record_bytes_, places_;
    double seconds_;
    std::vector<double> started_;  // [depth]
    PageMemory buffers_;
    Stopwatch watch_;
    Reader* reader_ = nullptr;
    std::mutex mutex_;
    std::condition_variable idle_;
    std::mt19937_64 random_{std::random_device{}()};
    std::vector<double> latencies_;
    std::exception_ptr error_;
    size_t open_ = 0;
    double finished_at_ = 0;
};

}  // namespace

const DiskBenchmarkRow* DiskBenchmark::best() const {
    const DiskBenchmarkRow* found = nullptr;
    for (const DiskBenchmarkRow& row : rows) {
        if (row.error.empty() && (found == nullptr || row.bytes_per_second > found->bytes_per_second)) found = &row;
    }
    return found;
}

DiskBenchmarkRow measure_reads(const std::filesystem::path& file, ReaderKind kind, size_t depth, bool direct,
                               uint64_t record_bytes, double seconds) {
    record_bytes = round_up(std::max<uint64_t>(record_bytes, 1), kPageBytes);
    DiskBenchmarkRow row;
    row.kind = kind;
    row.depth = depth;
    row.direct = direct;
    ReaderFiles files({file}, direct, !direct);
    if (files[0].size() < record_bytes) {
        fail(ErrorCode::kInvalidFile, "{}: {} bytes, but one read is {}", file.string(), files[0].size(), record_bytes);
    }
    files[0].drop_cached_pages(0, files[0].size());
    ReadLoop loop(files[0].size(), record_bytes, depth, seconds);
    const auto completed = [&loop](const ReadResult& result) { loop.completed(result); };
    std::unique_ptr<Reader> reader;
    if (kind == ReaderKind::kUring) {
        reader = make_uring_reader(files, depth, completed, row.error);
        if (!reader) return row;
    } else {
        reader = kind == ReaderKind::kMmap ? make_mmap_reader(std::move(files), depth, completed)
                                           : make_pread_reader(std::move(files), depth, completed);
    }
    row.reader = reader->name();
    loop.run(*reader, row);
    return row;
}

DiskBenchmark run_disk_benchmark(const std::filesystem::path& path, const DiskBenchmarkOptions& options) {
    DiskBenchmark result;
    result.temporary = std::filesystem::is_directory(path);
    result.file_bytes = result.temporary ? options.temporary_bytes : File::open(path).size();
    result.record_bytes = round_up(std::max<uint64_t>(options.record_bytes, 1), kPageBytes);
    check_size(path, result);
    const auto report = [&](size_t rows) {
        if (options.progress && !options.progress(result.rows.size(), rows))
            fail(ErrorCode::kCancelled, "{}: the measurement was stopped", path.string());
    };
    std::unique_ptr<TemporaryFile> temporary;
    if (result.temporary) {
        const size_t most_rows = 2 * options.readers.size() * options.depths.size();
        temporary = std::make_unique<TemporaryFile>(path, options.temporary_bytes, [&] { report(most_rows); });
    }
    result.file = temporary ? temporary->path() : path;
    result.direct_works = direct_io_works(result.file);
    std::vector<std::pair<ReaderKind, bool>> ways;
    for (const ReaderKind kind : options.readers) {
        if (result.direct_works && kind != ReaderKind::kMmap) ways.emplace_back(kind, true);
        ways.emplace_back(kind, false);
    }
    for (const auto& [kind, direct] : ways) {
        for (const size_t depth : options.depths) {
            result.rows.push_back(
                measure_reads(result.file, kind, depth, direct, result.record_bytes, options.seconds_per_row));
            report(ways.size() * options.depths.size());
        }
    }
    return result;
}

double measure_drive(const std::filesystem::path& file, uint64_t record_bytes, double seconds) {
    const bool direct = direct_io_works(file);
    const uint64_t size = File::open(file).size();
    record_bytes =
        std::min<uint64_t>(round_up(std::max<uint64_t>(record_bytes, 1), kPageBytes), size / kPageBytes * kPageBytes);
    const size_t depth = direct ? measure_read_depth(ReaderFiles({file}, true, false), record_bytes) : kBufferedDepth;
    return measure_reads(file, ReaderKind::kPread, depth, direct, record_bytes, seconds).bytes_per_second;
}

}  // namespace sluice
