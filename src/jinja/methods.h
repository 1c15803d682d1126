#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "jinja/builtin.h"
#include "jinja/value.h"

namespace sluice::jinja {

// The method of that name bound to `object`; undefined, with the reason, for one that would modify it; nothing where
// the type has none of that name.
std::optional<Value> find_method(const Value& object, std::string_view name);

std::span<const Builtin> string_methods();

}  // namespace sluice::jinja
