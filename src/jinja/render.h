#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sluice::jinja {

class Object;

// A template comes with a checkpoint from anywhere: these end its loops, recursions and doubling strings in an error.
struct Limits {
    uint64_t steps = 40'000'000;       // evaluated nodes, and what charge_copy and charge_items add
    size_t bytes = size_t{256} << 20;  // held by values at any one time
    int depth = 1000;                  // nested evaluations, macro calls included
};

// What one rendering uses and must clean up. At most one is current on a thread; values made while it is count in it
// and must not outlive it.
class Render {
  public:
    explicit Render(const Limits& limits);
    ~Render();
    Render(const Render&) = delete;
    Render& operator=(const Render&) = delete;

    static Render* current();

    // All three throw Failure at the limit.
    void step(uint64_t count = 1);
    void take_bytes(size_t bytes);
    void enter();

    void give_bytes(size_t bytes) { bytes_ -= bytes; }
    void leave() { --depth_; }

    // Holds an object that can come to refer to itself until the end, and empties it then.
    void keep(std::shared_ptr<Object> object);

  private:
    Limits limits_;
    uint64_t steps_ = 0;
    size_t bytes_ = 0;
    int depth_ = 0;
    std::vector<std::shared_ptr<Object>> kept_;
    Render* outer_;
};

// Steps for work in proportion to what it touches: bytes that are only copied or searched, or items (characters,
// elements, evaluated nodes) that are looked at one by one. Nothing outside of a rendering.
void charge_copy(size_t bytes);
void charge_items(size_t count);
// Throws Failure where `bytes` more would be over the limit; asked before something large is put together.
void require_room(size_t bytes);

// One level of nesting, of the current rendering if there is one.
class Nested {
  public:
    Nested() : render_(Render::current()) {
        if (render_ != nullptr) render_->enter();
    }
    ~Nested() {
        if (render_ != nullptr) render_->leave();
    }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

  private:
    Render* render_;
};

}  // namespace sluice::jinja
