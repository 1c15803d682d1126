#pragma once

#include <cstddef>
#include <span>

namespace sluice {

// The system may take the pages back that lie wholly inside a part of a mapped file; they are read anew when they are
// touched.
void let_go(std::span<const std::byte> mapped);

}  // namespace sluice
