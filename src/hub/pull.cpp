#include "hub/pull.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/folder_lock.h"
#include "base/log.h"
#include "base/size.h"
#include "hub/checksum.h"
#include "hub/download_place.h"
#include "hub/local_models.h"
#include "hub/repository.h"

namespace sluice::hub {

namespace {

constexpr int kMostAttempts = 5;  // of one file, as long as each brings something
constexpr size_t kReadBytes = size_t{1} << 20;

// A file that grows at its end. One thread.
class PartialFile {
  public:
    explicit PartialFile(fs::path path) : path_(std::move(path)) {
        descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        struct stat status {};
        if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) give_up("open");
        bytes_ = static_cast<uint64_t>(status.st_size);
    }
    ~PartialFile() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    PartialFile(const PartialFile&) = delete;
    PartialFile& operator=(const PartialFile&) = delete;

    const fs::path& path() const { return path_; }
    uint64_t bytes() const { return bytes_; }

    void append(std::span<const std::byte> piece) {
        while (!piece.empty()) {
            const ssize_t written = ::pwrite(descriptor_, piece.data(), piece.size(), static_cast<off_t>(bytes_));
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) give_up("write");
            bytes_ += static_cast<uint64_t>(written);
            piece = piece.subspan(static_cast<size_t>(written));
        }
    }
    void clear() {
        if (::ftruncate(descriptor_, 0) != 0) give_up("truncate");
        bytes_ = 0;
    }
    void add_to(Checksum& checksum) const {
        std::vector<std::byte> buffer(kReadBytes);
        for (uint64_t at = 0; at < bytes_;) {
            const ssize_t got = ::pread(descriptor_, buffer.data(), buffer.size(), static_cast<off_t>(at));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) give_up("read");
            checksum.add({buffer.data(), static_cast<size_t>(got)});
            at += static_cast<uint64_t>(got);
        }
    }
    void flush() {
        if (::fsync(descriptor_) != 0) give_up("fsync");
    }

  private:
    [[noreturn]] void give_up(const char* what) const {
        fail(ErrorCode::kIo, "{}: {}: {}", path_.string(), what, errno_text(errno));
    }

    fs::path path_;
    int descriptor_ = -1;
    uint64_t bytes_ = 0;
};

// The 5 of "bytes 5-9/10"; nothing where the header says none.
std::optional<uint64_t> first_byte(const HttpAnswer& answer) {
    const std::string range = answer.header("content-range");
    constexpr std::string_view kUnit = "bytes ";
    uint64_t first = 0;
    if (range.rfind(kUnit, 0) != 0) return std::nullopt;
    const char* const begin = range.data() + kUnit.size();
    if (std::from_chars(begin, range.data() + range.size(), first).ec != std::errc()) return std::nullopt;
    return first;
}

class Puller {
  public:
    Puller(const PullOptions& options, const BytesCallback& progress)
        : options_(options),
          progress_(progress),
          hub_(options.endpoint, options.token, options.model.repository, options.model.revision) {
        hub_.set_go_on([this] { return go_on(); });
    }

    PullReport run() {
        std::vector<RemoteFile> files = wanted_files();
        place_ = make_place();
        const FolderLock lock(place_->root());
        check_room(files);
        for (RemoteFile& file : files) get(file);
        place_->finish();
        report_.files = files.size();
        report_.folder = place_->folder();
        return report_;
    }

  private:
    std::vector<RemoteFile> wanted_files() {
        const RemoteRepository repository = hub_.list();
        commit_ = repository.commit;
        std::vector<RemoteFile> files = chosen_files(repository.files, options_.model.file, options_.model.repository);
        uint64_t total = 0;
        for (RemoteFile& file : files) {
            if (!file.bytes || file.checksum.empty() || commit_.empty()) hub_.complete(file, commit_);
            total += file.bytes.value_or(0);
        }
        total_ = total;
        return files;
    }

    std::unique_ptr<DownloadPlace> make_place() const {
        const ModelName& model = options_.model;
        if (!options_.folder.empty()) return plain_place(options_.folder, model.repository);
        const fs::path cache = cache_folder();
        if (cache.empty()) {
            fail(ErrorCode::kUsage, "there is no home folder to keep models in; say --model-dir DIR");
        }
        const std::string revision = model.revision.empty() ? "main" : model.revision;
        // A hub without commits has one version of everything.
        const std::string commit = is_safe_file(commit_) && commit_.find('/') == std::string::npos ? commit_ : revision;
        return cache_place(cache, model.repository, revision, commit);
    }

    void check_room(const std::vector<RemoteFile>& files) const {
        uint64_t needed = 0;
        for (const RemoteFile& file : files) {
            if (place_->has(file)) continue;
            std::error_code error;
            const uintmax_t there = fs::file_size(place_->partial(file), error);
            needed += file.bytes.value_or(0) - std::min<uint64_t>(file.bytes.value_or(0), error ? 0 : there);
        }
        std::error_code error;
        const fs::space_info space = fs::space(place_->root(), error);
        if (error || space.available >= needed) return;
        fail(ErrorCode::kIo, "{}: {} are free there and {} are needed; --model-dir names another place",
             place_->root().string(), format_size(space.available), format_size(needed));
    }

    bool go_on() const {
        return !progress_ || progress_(report_.bytes + current_, std::max(total_, report_.bytes + current_));
    }

    void get(RemoteFile& file) {
        if (place_->has(file) || place_->take_over(file)) {
            ++report_.files_there;
            report_.bytes += file.bytes.value_or(0);
            return;
        }
        PartialFile partial(place_->partial(file));
        report_.bytes_resumed += partial.bytes();
        fetch(file, partial);
        const std::string sum = checked(file, partial);
        partial.flush();
        place_->put(file, partial.path(), sum);
        report_.bytes += partial.bytes();
        current_ = 0;
    }

    // Until it is whole. A connection that breaks is taken up again as long as that brings something.
    void fetch(RemoteFile& file, PartialFile& partial) {
        for (int attempt = 1;; ++attempt) {
            const uint64_t before = partial.bytes();
            try {
                fetch_rest(file, partial);
                return;
            } catch (const Error& error) {
                const bool may_help = error.code() == ErrorCode::kIo && partial.bytes() > before;
                if (!may_help || attempt == kMostAttempts) throw;
                log_warning("{}; going on at {}", error.what(), format_size(partial.bytes()));
            }
        }
    }

    void fetch_rest(RemoteFile& file, PartialFile& partial) {
        if (file.bytes && partial.bytes() > *file.bytes) partial.clear();
        current_ = partial.bytes();
        if (file.bytes && partial.bytes() == *file.bytes) return;
        HttpRequest request{.address = hub_.address_of(file.path), .offset = partial.bytes()};
        request.go_on = [this] { return go_on(); };
        bool begun = false;
        request.body = [&](const HttpAnswer& answer, std::span<const std::byte> piece) {
            if (!begun) begin(answer, partial);
            begun = true;
            partial.append(piece);
            current_ = partial.bytes();
            return !file.bytes || partial.bytes() <= *file.bytes;
        };
        const HttpAnswer answer = hub_.client().ask(request);
        constexpr long kNoSuchRange = 416;
        if (answer.status == kNoSuchRange && request.offset > 0) {
            // What is there is of another file; it begins again.
            partial.clear();
            return fetch_rest(file, partial);
        }
        check_answer(answer, file.path);
        if (!begun) begin(answer, partial);  // an empty file
        if (file.bytes && partial.bytes() != *file.bytes) {
            const uint64_t came = partial.bytes();
            if (came > *file.bytes) partial.clear();
            fail(ErrorCode::kIo, "{}: {} bytes came and the hub says {}; run it again", file.path, came, *file.bytes);
        }
    }

    // A server that knows no ranges sends all of it again.
    void begin(const HttpAnswer& answer, PartialFile& partial) const {
        const uint64_t first = answer.status == 206 ? first_byte(answer).value_or(partial.bytes()) : 0;
        if (first == partial.bytes()) return;
        if (first != 0)
            fail(ErrorCode::kInvalidFile, "the hub sends bytes from {} on, not from {}", first, partial.bytes());
        partial.clear();
    }

    // The checksum of the file; a wrong one throws, and the file is gone.
    std::string checked(const RemoteFile& file, PartialFile& partial) {
        const ChecksumKind kind = file.checksum.empty() ? ChecksumKind::kSha256 : kind_of(file.checksum);
        Checksum checksum(kind, partial.bytes());
        partial.add_to(checksum);
        std::string sum = checksum.digits();
        if (file.checksum.empty()) {
            ++report_.unchecked;
        } else if (sum != file.checksum) {
            std::error_code error;
            fs::remove(partial.path(), error);
            fail(ErrorCode::kInvalidFile, "{}: its checksum is {} where the hub says {}; run it again", file.path, sum,
                 file.checksum);
        }
        return sum;
    }

    const PullOptions& options_;
    const BytesCallback& progress_;
    Hub hub_;
    std::unique_ptr<DownloadPlace> place_;
    std::string commit_;
    uint64_t total_ = 0, current_ = 0;
    PullReport report_;
};

}  // namespace

PullReport pull(const PullOptions& options, const BytesCallback& progress) {
    return Puller(options, progress).run();
}

}  // namespace sluice::hub
