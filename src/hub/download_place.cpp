#include "hub/download_place.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "hub/checksum.h"
#include "hub/local_models.h"

namespace sluice::hub {

namespace {

constexpr const char* kIncomplete = ".incomplete";

void make_folders(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail(ErrorCode::kIo, "{}: {}", folder.string(), error.message());
}

void rename_file(const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    if (error) fail(ErrorCode::kIo, "{}: {}", to.string(), error.message());
}

std::string checksum_of_text(const std::string& text) {
    Checksum sum(ChecksumKind::kSha256, text.size());
    sum.add(std::as_bytes(std::span(text)));
    return sum.digits();
}

class PlainPlace : public DownloadPlace {
  public:
    explicit PlainPlace(fs::path folder) : folder_(std::move(folder)) { make_folders(folder_); }

    fs::path root() const override { return folder_; }
    fs::path folder() const override { return folder_; }
    fs::path partial(const RemoteFile& file) const override {
        fs::path path = folder_ / (file.path + kIncomplete);
        make_folders(path.parent_path());
        return path;
    }
    void put(const RemoteFile& file, const fs::path& partial, const std::string&) override {
        rename_file(partial, folder_ / file.path);
    }

  private:
    fs::path folder_;
};

class CachePlace : public DownloadPlace {
  public:
    CachePlace(fs::path entry, std::string revision, std::string commit)
        : entry_(std::move(entry)), revision_(std::move(revision)), commit_(std::move(commit)) {
        make_folders(entry_ / "blobs");
        make_folders(folder());
    }

    fs::path root() const override { return entry_; }
    fs::path folder() const override { return entry_ / "snapshots" / commit_; }
    fs::path partial(const RemoteFile& file) const override {
        const std::string name = file.checksum.empty() ? checksum_of_text(commit_ + "/" + file.path) : file.checksum;
        return entry_ / "blobs" / (name + kIncomplete);
    }
    bool take_over(const RemoteFile& file) override {
        std::error_code error;
        if (file.checksum.empty() || !fs::exists(entry_ / "blobs" / file.checksum, error)) return false;
        link_to(file, entry_ / "blobs" / file.checksum);
        return has(file);
    }
    void put(const RemoteFile& file, const fs::path& partial, const std::string& checksum) override {
        const fs::path blob = entry_ / "blobs" / checksum;
        rename_file(partial, blob);
        link_to(file, blob);
    }
    void finish() override {
        const fs::path ref = entry_ / "refs" / revision_;
        make_folders(ref.parent_path());
        write_text_file(ref, commit_);
    }

  private:
    void link_to(const RemoteFile& file, const fs::path& blob) const {
        const fs::path link = folder() / file.path;
        make_folders(link.parent_path());
        // Made beside it and renamed: a link that is there is replaced at once.
        const fs::path fresh = link.string() + kIncomplete;
        std::error_code error;
        fs::remove(fresh, error);
        fs::create_symlink(blob.lexically_relative(link.parent_path()), fresh, error);
        if (error) fail(ErrorCode::kIo, "{}: {}", link.string(), error.message());
        rename_file(fresh, link);
    }

    fs::path entry_;
    std::string revision_, commit_;
};

}  // namespace

bool DownloadPlace::has(const RemoteFile& file) const {
    std::error_code error;
    const uintmax_t bytes = fs::file_size(folder() / file.path, error);
    return !error && (!file.bytes || bytes == *file.bytes);
}

std::unique_ptr<DownloadPlace> plain_place(const fs::path& folder, const std::string& repository) {
    return std::make_unique<PlainPlace>(folder / repository);
}

std::unique_ptr<DownloadPlace> cache_place(const fs::path& cache, const std::string& repository,
                                           const std::string& revision, const std::string& commit) {
    return std::make_unique<CachePlace>(cache / cache_entry(repository), revision, commit);
}

}  // namespace sluice::hub
