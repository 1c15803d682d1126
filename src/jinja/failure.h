#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::jinja {

// What a template got wrong. Never leaves the room: the caller adds the template's label and turns it into an Error.
class Failure : public std::runtime_error {
  public:
    explicit Failure(const std::string& message, int line = 0) : std::runtime_error(message), line_(line) {}
    int line() const { return line_; }  // 0: where the interpreter stands

  private:
    int line_;
};

// The template called raise_exception; the text is its own.
class Raised : public std::runtime_error {
  public:
    explicit Raised(const std::string& words) : std::runtime_error(words) {}
};

template <typename... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
    throw Failure(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void raise_at(int line, fmt::format_string<Args...> format, Args&&... args) {
    throw Failure(fmt::format(format, std::forward<Args>(args)...), line);
}

}  // namespace sluice::jinja
