#include "experts/reader.h"

#include "base/log.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "experts/read_depth.h"

namespace sluice {

ReaderFiles::ReaderFiles(const std::vector<std::filesystem::path>& paths, bool direct, bool drop_behind)
    : direct_(direct), drop_behind_(drop_behind) {
    for (const auto& path : paths) {
        files_.push_back(File::open(path, direct ? File::Access::kReadDirect : File::Access::kRead));
    }
}

void ReaderFiles::give_up_direct(const std::string& file) const {
    if (fallback_->refused.exchange(true)) return;
    log_warning("{}: a direct read is refused: reading through the page cache; --direct-io off does so from the start",
                file);
}

const File& ReaderFiles::buffered(uint32_t index) const {
    if (!direct_) return files_[index];
    const std::lock_guard lock(fallback_->mutex);
    const auto known = fallback_->files.find(index);
    if (known != fallback_->files.end()) return known->second;
    return fallback_->files.emplace(index, File::open(files_[index].label())).first->second;
}

void ReaderFiles::done_with(const ReadRequest& request) const {
    if (drop_behind_) files_[request.file].drop_cached_pages(request.offset, request.bytes);
}

Transfer make_transfer(uint64_t offset, uint64_t bytes, const std::byte* destination, bool direct) {
    if (!direct) return {offset, bytes, 0, false};
    const uint64_t begin = offset / kPageBytes * kPageBytes;
    const uint64_t end = round_up(offset + bytes, kPageBytes);
    const bool aligned =
        begin == offset && end == offset + bytes && reinterpret_cast<uintptr_t>(destination) % kPageBytes == 0;
    return {begin, end - begin, offset - begin, !aligned};
}

ReadFailure failure_of(const std::exception_ptr& error) {
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

std::exception_ptr read_error(const File& file, uint64_t offset, int error_number) {
    return std::make_exception_ptr(Error(
        ErrorCode::kIo, fmt::format("{}: read at offset {}: {}", file.label(), offset, errno_text(error_number))));
}

std::exception_ptr short_read_error(const File& file, uint64_t ends_at, const ReadRequest& request) {
    return std::make_exception_ptr(
        Error(ErrorCode::kIo, fmt::format("{}: ends at byte {}, but {} bytes at offset {} were expected", file.label(),
                                          ends_at, request.bytes, request.offset)));
}

bool direct_io_works(const std::filesystem::path& path) {
    try {
        const File file = File::open(path, File::Access::kReadDirect);
        const PageMemory page(kPageBytes);
        return file.read_up_to(0, page.bytes()) > 0;
    } catch (const Error&) {
        return false;
    }
}

std::unique_ptr<Reader> open_reader(const std::vector<std::filesystem::path>& paths, const ReaderOptions& options,
                                    Reader::Completed completed) {
    const uint64_t available = available_memory_bytes();
    const bool fits = options.read_bytes + options.reserved_bytes <= available;
    bool direct =
        options.kind != ReaderKind::kMmap && (options.direct == When::kOn || (options.direct == When::kAuto && !fits));
    if (direct && !std::all_of(paths.begin(), paths.end(), direct_io_works)) {
        direct = false;
        log_info("direct I/O is refused for {}: reading through the page cache", paths.front().string());
    }
    ReaderFiles files(paths, direct, !direct && !fits);
    if (options.kind == ReaderKind::kMmap) {
        return make_mmap_reader(std::move(files), options.depth == 0 ? kBufferedDepth : options.depth,
                                std::move(completed));
    }
    const size_t depth = options.depth != 0 ? options.depth
                         : direct           ? measure_read_depth(files, options.record_bytes)
                                            : kBufferedDepth;
    // A ring won only for records below a megabyte, which real models do not have (docs/experiments.md): it must be
    // asked for.
    if (options.kind == ReaderKind::kUring) {
        std::string why;
        if (auto reader = make_uring_reader(files, depth, completed, why)) return reader;
        log_warning("io_uring is not available ({}): reading with a pool of threads", why);
    }
    return make_pread_reader(std::move(files), depth, std::move(completed));
}

}  // namespace sluice
