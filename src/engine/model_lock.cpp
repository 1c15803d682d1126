#include "engine/engine_impl.h"

namespace sluice {

namespace {

std::unique_ptr<Session::Impl> take_retired(Engine::Impl& engine) {
    const std::lock_guard lock(engine.retired_mutex);
    return std::move(engine.retired);
}

bool any_retired(Engine::Impl& engine) {
    const std::lock_guard lock(engine.retired_mutex);
    return engine.retired != nullptr;
}

}  // namespace

// Somebody may retire a session between the last look and the unlocking: then one of the two is to see it.
ModelLock::~ModelLock() {
    do {
        for (auto session = take_retired(engine_); session != nullptr;) session = std::move(session->next_retired);
        engine_.model_mutex.unlock();
    } while (any_retired(engine_) && engine_.model_mutex.try_lock());
}

void Engine::Impl::retire(std::unique_ptr<Session::Impl> session) {
    {
        const std::lock_guard lock(retired_mutex);
        session->next_retired = std::move(retired);
        retired = std::move(session);
    }
    if (model_mutex.try_lock()) const ModelLock lock(*this, std::adopt_lock);
}

}  // namespace sluice
