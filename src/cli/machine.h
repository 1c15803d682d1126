#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/cards.h"

namespace sluice::cli {

// What the operating system says of itself. Every part that cannot be found out is empty or zero; nothing here throws.

struct ProcessorFacts {
    std::string name;
    std::vector<std::string> features;  // of those that the kernels know: "AVX2", "AVX-512 VNNI" ...
    size_t cores_online = 0;
    size_t cores_allowed = 0;  // by affinity and cgroup quota
};
ProcessorFacts processor_facts();

struct MemoryFacts {
    uint64_t total = 0, available = 0, page_cache = 0;
    uint64_t swap_total = 0, swap_used = 0;
    std::optional<uint64_t> cgroup_limit;
    std::string huge_pages;  // "always", "madvise", "never"
};
MemoryFacts memory_facts();

struct DriveFacts {
    std::string mount_point, filesystem, device;
    std::optional<bool> rotational;
    uint64_t free_bytes = 0;
    bool direct_io = false;          // one real read past the page cache worked
    bool direct_io_untried = false;  // there is no file to try it on
    std::string direct_io_refusal;   // why not
};
// Of the drive that holds `path`, which must exist.
DriveFacts drive_facts(const std::filesystem::path& path);

// The card that `device` names, where it is there; none: the processor's memory is what counts.
std::optional<Card> card_of(std::string_view device);

// Empty when a ring can be set up, else why not.
std::string io_uring_refusal();

}  // namespace sluice::cli
