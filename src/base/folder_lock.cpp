#include "base/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace sluice {

FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail(ErrorCode::kIo, "{}: {}", folder.string(), errno_text(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
    ::close(descriptor_);
    fail(ErrorCode::kUsage, "{}: another program is writing there; wait until it is done, or give another folder",
         folder.string());
}

FolderLock::~FolderLock() {
    ::close(descriptor_);
}

}  // namespace sluice
