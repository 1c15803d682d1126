#include "jinja/scope.h"

#include "jinja/render.h"

namespace sluice::jinja {

Scope::Scope(std::shared_ptr<Scope> parent) : Object(sizeof(Scope), 0), parent_(std::move(parent)) {}

void Scope::set(std::string_view name, Value value) {
    for (auto& [known, held] : variables_) {
        if (known == name) {
            held = std::move(value);
            return;
        }
    }
    grow(sizeof(variables_[0]));
    variables_.emplace_back(name, std::move(value));
}

const Value* Scope::find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_.get()) {
        for (const auto& [known, value] : scope->variables_) {
            if (known == name) return &value;
        }
    }
    return nullptr;
}

void Scope::hold_until_end(const std::shared_ptr<Scope>& self) {
    Render* render = Render::current();
    if (held_ || render == nullptr) return;
    held_ = true;
    render->keep(self);
}

}  // namespace sluice::jinja
