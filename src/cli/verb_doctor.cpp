#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/size.h"
#include "cli/machine.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/cards.h"
#include "sluice/launch.h"
#include "sluice/links.h"

namespace sluice::cli {

namespace {

// Findings as lines: "good" helps, "note" is worth knowing, "slow" costs speed and says what to do.
class Findings {
  public:
    void good(const std::string& text) { add("good", text); }
    void note(const std::string& text) { add("note", text); }
    void slow(const std::string& text) { add("slow", text); }
    const std::string& text() const { return text_; }

  private:
    void add(const char* kind, const std::string& text) { text_ += fmt::format("  {}  {}\n", kind, text); }
    std::string text_;
};

void examine_processor(Findings& findings) {
    const ProcessorFacts facts = processor_facts();
    const std::string name = facts.name.empty() ? "this processor" : facts.name;
    if (facts.features.empty()) {
        findings.slow(
            fmt::format("{} has neither AVX2 nor NEON: the portable kernels run, several times slower", name));
    } else {
        findings.good(
            fmt::format("{} has {}; the fastest kernels it can run are chosen", name, fmt::join(facts.features, ", ")));
    }
    if (facts.cores_allowed < facts.cores_online) {
        findings.note(fmt::format("{} of {} cores may be used (affinity or a cgroup quota)", facts.cores_allowed,
                                  facts.cores_online));
    } else {
        findings.note(fmt::format("{} core{}", facts.cores_online, facts.cores_online == 1 ? "" : "s"));
    }
}

void examine_cards(Findings& findings) {
    if (!built_with_cuda()) {
        findings.note("built without CUDA: everything runs on the processor");
        return;
    }
    const std::vector<Card> found = cards();
    if (found.empty()) findings.note("no NVIDIA card, or no driver for it: everything runs on the processor");
    for (size_t i = 0; i < found.size(); ++i) {
        findings.good(fmt::format("--device cuda:{} is {} (compute capability {}.{}), {} of {} free", i, found[i].name,
                                  found[i].compute_capability / 10, found[i].compute_capability % 10,
                                  format_size(found[i].free_bytes), format_size(found[i].memory_bytes)));
    }
}

void examine_memory(Findings& findings) {
    const MemoryFacts facts = memory_facts();
    findings.note(fmt::format("{} of memory, {} free for a model; the page cache holds {}", format_size(facts.total),
                              format_size(facts.available), format_size(facts.page_cache)));
    if (facts.cgroup_limit) {
        findings.note(
            fmt::format("a cgroup allows {}; --ram stays under it by itself", format_size(*facts.cgroup_limit)));
    }
    if (facts.swap_total == 0) {
        findings.good("no swap: a model that is too large is refused instead of slowing everything down");
    } else if (facts.swap_used > facts.swap_total / 10) {
        findings.slow(fmt::format("{} of swap is in use: something else needs memory; give a smaller --ram or close it",
                                  format_size(facts.swap_used)));
    } else {
        findings.note(
            fmt::format("{} of swap, hardly used; keep --ram below what is free", format_size(facts.swap_total)));
    }
    if (facts.huge_pages == "never") {
        findings.slow(
            "transparent huge pages are off; `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` "
            "helps "
            "large caches");
    } else if (!facts.huge_pages.empty()) {
        findings.good(fmt::format("transparent huge pages: {}", facts.huge_pages));
    }
}

void examine_drive(const std::filesystem::path& path, Findings& findings) {
    const DriveFacts facts = drive_facts(path);
    findings.note(fmt::format("{} is on {} ({}, {}), {} free", path.string(), facts.mount_point, facts.filesystem,
                              facts.device, format_size(facts.free_bytes)));
    if (facts.rotational == true) {
        findings.slow(
            "the drive says that it turns (virtual machines say so of any drive; `sluice bench-disk` "
            "measures it): on a "
            "turning drive every token takes seconds; move the model to an SSD");
    } else if (facts.rotational == false) {
        findings.good("the drive is solid state");
    } else {
        findings.note("whether the drive turns could not be found out; `sluice bench-disk` measures it");
    }
    if (facts.direct_io_untried) {
        findings.note("direct I/O (O_DIRECT) was not tried: there is no file of a page or more here");
    } else if (facts.direct_io) {
        findings.good(
            "direct I/O (O_DIRECT) works: reads can pass the page cache by, which wins when a model exceeds "
            "memory");
    } else {
        findings.slow(fmt::format("direct I/O does not work here ({}); reads go through the page cache",
                                  facts.direct_io_refusal));
    }
    const std::string uring = io_uring_refusal();
    if (uring.empty()) {
        findings.good("io_uring is available");
    } else {
        findings.note(fmt::format("io_uring is refused ({}); a pool of threads reads instead", uring));
    }
}

// The other machines of a job.
std::string links_text() {
    constexpr double kFeltSeconds = 100e-6;  // forty layers wait for two messages each
    if (!launched().with_others()) return {};
    Findings links;
    for (const LinkMeasurement& link : measure_links()) {
        const std::string figures = fmt::format("{}: a message takes {:.0f} us one way, long ones come at {:.2f} GB/s",
                                                link.name, link.latency_seconds * 1e6, link.bytes_per_second / 1e9);
        if (link.latency_seconds > kFeltSeconds) {
            links.slow(figures + ": every layer waits for two of them");
        } else {
            links.good(figures);
        }
    }
    return "Other machines\n" + links.text();
}

// The place to look at: what was named, else where the bundled model is, else here.
std::filesystem::path place(const std::string& named) {
    if (!named.empty()) {
        std::error_code error;
        if (!std::filesystem::exists(named, error)) fail(ErrorCode::kNotFound, "{}: no such file or folder", named);
        return named;
    }
    try {
        return model_folder({});
    } catch (const Error&) {
        return ".";
    }
}

}  // namespace

Command declare_doctor() {
    struct Flags {
        std::string path;
        bool quiet = false;
    };
    auto flags = std::make_shared<Flags>();
    Command command;
    command.flags.push_back(
        argument("PATH", flags->path, "A checkpoint or a folder on the drive to look at; default: the bundled model"));
    add_log_flags(command.flags, flags->quiet);
    command.run = [flags] {
        const std::filesystem::path path = place(flags->path);
        Findings processor, memory, drive, card;
        examine_processor(processor);
        examine_memory(memory);
        examine_drive(path, drive);
        examine_cards(card);
        Output().write(fmt::format("Processor\n{}Memory\n{}Drive\n{}Graphics card\n{}{}", processor.text(),
                                   memory.text(), drive.text(), card.text(), links_text()));
    };
    command.help = answer_links;
    return command;
}

}  // namespace sluice::cli
