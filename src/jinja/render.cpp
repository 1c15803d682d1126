#include "jinja/render.h"

#include <utility>

#include "jinja/failure.h"
#include "jinja/value.h"

namespace sluice::jinja {

namespace {
thread_local Render* current_render = nullptr;
constexpr size_t kBytesPerStep = 128;
constexpr size_t kItemsPerStep = 8;
}  // namespace

Render::Render(const Limits& limits) : limits_(limits), outer_(current_render) {
    current_render = this;
}

Render::~Render() {
    // Emptied while all are still held, so that a long chain of them is not torn down by recursion.
    for (const std::shared_ptr<Object>& object : kept_) object->drop_references();
    kept_.clear();
    current_render = outer_;
}

Render* Render::current() {
    return current_render;
}

void Render::step(uint64_t count) {
    steps_ += count;
    if (steps_ > limits_.steps) raise("the template ran for more than {} steps", limits_.steps);
}

void Render::take_bytes(size_t bytes) {
    if (bytes > limits_.bytes - bytes_) raise("the template's values need more than {} bytes", limits_.bytes);
    bytes_ += bytes;
}

void Render::enter() {
    if (depth_ >= limits_.depth) raise("nested or recursive beyond {} levels", limits_.depth);
    ++depth_;
}

void Render::keep(std::shared_ptr<Object> object) {
    kept_.push_back(std::move(object));
}

void charge_copy(size_t bytes) {
    if (current_render != nullptr) current_render->step(bytes / kBytesPerStep + 1);
}

void charge_items(size_t count) {
    if (current_render != nullptr) current_render->step(count / kItemsPerStep + 1);
}

void require_room(size_t bytes) {
    if (current_render == nullptr) return;
    current_render->take_bytes(bytes);
    current_render->give_bytes(bytes);
}

}  // namespace sluice::jinja
