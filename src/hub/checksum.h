#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace sluice::hub {

enum class ChecksumKind {
    kSha256,   // of the bytes
    kGitBlob,  // SHA-1 of "blob SIZE\0" and the bytes, as git names a file
};

// The kind of a checksum in hexadecimal digits: 64 of them, or 40. Whatever else is none.
bool is_checksum(const std::string& digits);
ChecksumKind kind_of(const std::string& digits);

// One pass over a file's bytes. One thread.
class Checksum {
  public:
    // `bytes`: of the whole file.
    Checksum(ChecksumKind kind, uint64_t bytes);
    ~Checksum();
    Checksum(const Checksum&) = delete;
    Checksum& operator=(const Checksum&) = delete;

    void add(std::span<const std::byte> bytes);
    std::string digits();  // lower case; nothing may be added after it

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::hub
