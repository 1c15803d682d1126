#pragma once

#include <filesystem>

namespace sluice {

// The right to change a folder, held by one program at a time and given up when it ends, however it ends; leaves no
// file behind. Where a file system knows no locks everybody has it.
class FolderLock {
  public:
    // Throws kUsage when another program holds it, kIo when the folder cannot be opened.
    explicit FolderLock(const std::filesystem::path& folder);
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;
    ~FolderLock();

  private:
    int descriptor_ = -1;
};

}  // namespace sluice
