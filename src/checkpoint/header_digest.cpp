#include "checkpoint/header_digest.h"

#include <fmt/core.h>
#include <xxhash.h>

namespace sluice {

void HeaderDigest::Free::operator()(XXH3_state_s* state) const {
    XXH3_freeState(state);
}

HeaderDigest::HeaderDigest() : state_(XXH3_createState()) {
    XXH3_128bits_reset(state_.get());
}

void HeaderDigest::add(std::string_view header) {
    const std::string length = fmt::format("{}:", header.size());
    XXH3_128bits_update(state_.get(), length.data(), length.size());
    XXH3_128bits_update(state_.get(), header.data(), header.size());
}

std::string HeaderDigest::hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace sluice
