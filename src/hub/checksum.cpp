#include "hub/checksum.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace sluice::hub {

namespace {

constexpr size_t kSha256Digits = 64, kSha1Digits = 40;

}  // namespace

struct Checksum::Impl {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    Impl() = default;
    ~Impl() { EVP_MD_CTX_free(context); }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
};

bool is_checksum(const std::string& digits) {
    return (digits.size() == kSha256Digits || digits.size() == kSha1Digits) &&
           digits.find_first_not_of("0123456789abcdef") == std::string::npos;
}

ChecksumKind kind_of(const std::string& digits) {
    return digits.size() == kSha1Digits ? ChecksumKind::kGitBlob : ChecksumKind::kSha256;
}

Checksum::Checksum(ChecksumKind kind, uint64_t bytes) : impl_(std::make_unique<Impl>()) {
    const EVP_MD* const digest = kind == ChecksumKind::kGitBlob ? EVP_sha1() : EVP_sha256();
    if (impl_->context == nullptr || EVP_DigestInit_ex(impl_->context, digest, nullptr) != 1) {
        fail(ErrorCode::kUnsupported, "checksums cannot be computed here: OpenSSL refuses the digest");
    }
    if (kind != ChecksumKind::kGitBlob) return;
    const std::string header = fmt::format("blob {}", bytes);
    add(std::as_bytes(std::span(header.c_str(), header.size() + 1)));  // with the 0 at its end
}

Checksum::~Checksum() = default;

void Checksum::add(std::span<const std::byte> bytes) {
    if (EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) != 1) {
        fail(ErrorCode::kUnsupported, "a checksum cannot be computed here");
    }
}

std::string Checksum::digits() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_DigestFinal_ex(impl_->context, digest.data(), &size);
    std::string text;
    for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
    return text;
}

}  // namespace sluice::hub
