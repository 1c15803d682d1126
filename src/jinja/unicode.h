#pragma once

// Code points of UTF-8 text, with Python's ideas of spaces, letters and cases. All text here is valid UTF-8.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

size_t count_code_points(std::string_view text);
// The code point at byte `at`, which then moves past it.
char32_t next_code_point(std::string_view text, size_t& at);
// The code point that ends before byte `at`, which then moves onto it.
char32_t previous_code_point(std::string_view text, size_t& at);
std::vector<char32_t> code_points(std::string_view text);

bool is_space(char32_t point);
bool is_line_break(char32_t point);
bool is_alpha(char32_t point);
bool is_decimal(char32_t point);
bool is_digit(char32_t point);
bool is_numeric(char32_t point);
bool is_word(char32_t point);  // \w of Python's regular expressions
bool is_upper(char32_t point);
bool is_lower(char32_t point);
bool is_title(char32_t point);
bool is_printable(char32_t point);
bool starts_identifier(char32_t point);
bool continues_identifier(char32_t point);
bool is_identifier(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);       // str.title: a word starts after anything that has no case
std::string capitalize(std::string_view text);  // first letter in title case, the rest in lower case
std::string swapcase(std::string_view text);
std::string casefold(std::string_view text);

}  // namespace sluice::jinja
