#pragma once

#include "backend/cpu/cpu_backend.h"
#include "backend/reference/operations.h"

namespace sluice {

// A form of latent attention on the cpu or the reference backend, whichever the sequence's shape would choose.
template <typename Form>
void run_form(Backend& backend, const Form& form) {
    if (auto* cpu = dynamic_cast<CpuBackend*>(&backend)) {
        cpu->compute(form);
    } else {
        reference::compute(form);
    }
    backend.wait();
}

}  // namespace sluice
