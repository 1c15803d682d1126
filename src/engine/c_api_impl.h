#pragma once

// What the sources of the C interface share: its handles, and how an exception becomes a status.

#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "base/error.h"
#include "sluice/engine.h"
#include "sluice/sluice.h"

struct sluice_model {
    std::unique_ptr<sluice::Engine> engine;
};

struct sluice_session {
    sluice::Engine* engine = nullptr;
    std::unique_ptr<sluice::Session> session;
    sluice::ProgressCallback progress;
    std::vector<float> logits;
};

namespace sluice::c_api {

// Keeps them for sluice_last_error() of this thread.
sluice_status remember(sluice_status status, const char* text);

// Runs `body` and turns whatever it throws into a status and a text.
template <typename Body>
sluice_status guarded(Body&& body) noexcept {
    try {
        body();
        return SLUICE_OK;
    } catch (const Error& error) {
        return remember(static_cast<sluice_status>(error.code()), error.what());
    } catch (const std::bad_alloc&) {
        return remember(SLUICE_ERROR_OUT_OF_MEMORY, "out of memory");
    } catch (const std::exception& error) {
        return remember(SLUICE_ERROR_INTERNAL, error.what());
    } catch (...) {
        return remember(SLUICE_ERROR_INTERNAL, "an unknown error");
    }
}

inline void require(const void* argument, const char* name) {
    if (argument == nullptr) fail(ErrorCode::kUsage, "argument {} is NULL", name);
}

// Writes `source` to a caller's array whose capacity is *count; *count becomes the size needed.
template <typename T, typename Source>
void give(const Source& source, T* target, size_t* count) {
    const size_t capacity = *count;
    *count = source.size();
    if (source.size() > capacity) {
        fail(ErrorCode::kUsage, "the array holds {} elements, {} are needed", capacity, source.size());
    }
    if (source.size() > 0) require(target, "array");
    std::copy(source.begin(), source.end(), target);
}

}  // namespace sluice::c_api
