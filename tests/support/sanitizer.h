#pragma once

namespace sluice::testing {

// AddressSanitizer's own memory grows as a test runs: what a process holds says nothing then.
#ifdef __SANITIZE_ADDRESS__
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
// The same of ThreadSanitizer's.
#ifdef __SANITIZE_THREAD__
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

}  // namespace sluice::testing
