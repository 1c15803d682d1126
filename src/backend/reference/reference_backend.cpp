#include "backend/host_backend.h"
#include "backend/reference/operations.h"

namespace sluice {

namespace {

class ReferenceBackend final : public HostBackend<ReferenceBackend> {
  public:
    std::string name() const override { return "reference"; }

    template <typename Op>
    void compute(const Op& op) {
        reference::compute(op);
    }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() {
    return std::make_unique<ReferenceBackend>();
}

}  // namespace sluice
