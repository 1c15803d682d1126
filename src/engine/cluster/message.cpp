#include "engine/cluster/message.h"

#include <algorithm>

#include "base/error.h"

namespace sluice {

std::span<const std::byte> MessageReader::part(size_t count, size_t size) {
    if (count > bytes_.size() / size) fail(ErrorCode::kIo, "the message ends too early");
    const auto found = bytes_.first(count * size);
    bytes_ = bytes_.subspan(std::min(bytes_.size(), (count * size + 7) / 8 * 8));
    return found;
}

}  // namespace sluice
