#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace sluice {

// A fixed team of threads for fork-join loops. The caller's thread is one of the team. Work is cut by index, never by
// who is free, so what a task computes cannot depend on the number of threads. One run at a time per pool.
class ThreadPool {
  public:
    // 0 threads: one per available core; never more than 4 times the processors, or 64. Throws kOutOfMemory where the
    // system starts no more threads. `pinned` keeps every thread but the caller's on a processor of its own.
    explicit ThreadPool(size_t threads, bool pinned = false);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    size_t threads() const;

    // Asked by the caller's thread between its pieces: where it says false the rest of the loop is left out, and
    // parallel_for throws kCancelled. Empty: nobody is asked.
    void set_go_on(std::function<bool()> go_on);

    // Calls body(begin, end) over [0, count) in pieces of at most `grain`, and returns when all are done. The first
    // exception thrown by a body is rethrown here.
    template <typename Body>
    void parallel_for(size_t count, size_t grain, Body&& body) {
        if (count == 0) return;
        if (count <= grain || (threads() == 1 && !is_watched())) {
            body(size_t{0}, count);
            return;
        }
        run(
            count, grain,
            [](void* context, size_t begin, size_t end) {
                (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
            },
            const_cast<void*>(static_cast<const void*>(&body)));
    }

  private:
    using Piece = void (*)(void* context, size_t begin, size_t end);
    void run(size_t count, size_t grain, Piece piece, void* context);
    bool is_watched() const;

    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace sluice
