#include "base/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace sluice {

// A guarded range of addresses. The signal handler walks all of them at any time, so none is ever freed: one that is no
// longer used is empty, and the next guard takes it.
struct MappingGuard::Area {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> torn{false};
    bool taken = false;  // under BusErrors::mutex
    Area* next = nullptr;
};

struct BusErrors {
    using Area = MappingGuard::Area;
    static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<Area*>::is_always_lock_free,
                  "a signal handler may touch nothing else");

    static inline std::atomic<Area*> areas{nullptr};
    static inline std::mutex mutex;
    static inline bool installed = false;
    static inline struct sigaction previous {};
    static inline uintptr_t page_bytes = 0;

    static void install() {
        if (installed) return;
        page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
        struct sigaction action {};
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigemptyset(&action.sa_mask);
        installed = ::sigaction(SIGBUS, &action, &previous) == 0;
    }

    static Area* take_area() {
        for (Area* area = areas.load(); area != nullptr; area = area->next) {
            if (!area->taken) return area;
        }
        auto* made = new Area;
        made->next = areas.load();
        areas.store(made);
        return made;
    }

    static bool replace_pages(uintptr_t address) {
        for (Area* area = areas.load(); area != nullptr; area = area->next) {
            const uintptr_t end = area->end.load();
            if (address < area->begin.load() || address >= end) continue;
            const uintptr_t page = address / page_bytes * page_bytes;
            area->torn.store(true);
            return ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
        }
        return false;
    }

    static void handle(int number, siginfo_t* information, void* context) {
        const bool sent = information->si_code <= 0;  // by a process: it has no address
        const int error_number = errno;
        const bool replaced = !sent && replace_pages(reinterpret_cast<uintptr_t>(information->si_addr));
        errno = error_number;
        if (replaced) return;
        if ((previous.sa_flags & SA_SIGINFO) != 0) {
            previous.sa_sigaction(number, information, context);
        } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
            previous.sa_handler(number);
        } else {
            ::sigaction(SIGBUS, &previous, nullptr);  // the access is repeated, and ends as it would have
            if (sent) ::raise(SIGBUS);
        }
    }
};

MappingGuard::MappingGuard(const std::byte* data, size_t bytes) {
    const std::scoped_lock lock(BusErrors::mutex);
    BusErrors::install();
    area_ = BusErrors::take_area();
    area_->taken = true;
    area_->torn.store(false);
    const auto begin = reinterpret_cast<uintptr_t>(data);
    area_->end.store(begin + bytes);
    area_->begin.store(begin);
}

MappingGuard::~MappingGuard() {
    const std::scoped_lock lock(BusErrors::mutex);
    area_->end.store(0);
    area_->begin.store(0);
    area_->taken = false;
}

bool MappingGuard::torn() const {
    return area_->torn.load();
}

void MappingGuard::mended() {
    area_->torn.store(false);
}

}  // namespace sluice
