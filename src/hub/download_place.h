#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "hub/repository.h"

namespace sluice::hub {

// Where the files of a repository go.
class DownloadPlace {
  public:
    DownloadPlace() = default;
    virtual ~DownloadPlace() = default;
    DownloadPlace(const DownloadPlace&) = delete;
    DownloadPlace& operator=(const DownloadPlace&) = delete;

    virtual std::filesystem::path root() const = 0;    // all of it; one program at a time may change it
    virtual std::filesystem::path folder() const = 0;  // the files under their names
    // Of a file that is not whole yet; its folder is there.
    virtual std::filesystem::path partial(const RemoteFile& file) const = 0;
    // Whether the same bytes are there under another name; the file then has its own too.
    virtual bool take_over(const RemoteFile&) { return false; }
    // Gives a whole file its name. `checksum`: of its bytes.
    virtual void put(const RemoteFile& file, const std::filesystem::path& partial, const std::string& checksum) = 0;
    virtual void finish() {}

    // Whether the file is there with the size that the hub says.
    bool has(const RemoteFile& file) const;
};

// FOLDER/ORG/NAME with the files as they are.
std::unique_ptr<DownloadPlace> plain_place(const std::filesystem::path& folder, const std::string& repository);

// The cache that other programs share: bytes are in `blobs`, called by their checksums; snapshots/COMMIT holds links
// under the files' names, and refs/REVISION the commit.
std::unique_ptr<DownloadPlace> cache_place(const std::filesystem::path& cache, const std::string& repository,
                                           const std::string& revision, const std::string& commit);

}  // namespace sluice::hub
