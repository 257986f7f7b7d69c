// Jinja2 templates, as far as the chat templates of checkpoints use the language
// (https://jinja.palletsprojects.com/en/stable/templates/), rendered to the letter as transformers
// renders them: `trim_blocks` and `lstrip_blocks` are on, `raise_exception` is known, loops may
// break and continue, and `{% generation %}` marks nothing. There is no library of it for C++ in
// Debian.
//
// Known: texts, comments, if, for, set, macros, expressions, and the filters, tests and methods of
// jinja_filters.cpp. Anything else, and what a template itself refuses, is a user error that names
// the template's line. Today's date is not known (`strftime_now` is not defined), so that a prompt
// is the same every day.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "worker/data/jinja_value.h"

namespace ropesweep::data::jinja {

struct Block;

class Template {
 public:
  /// Errors: user error "chat template, line N: …" for what isn't known or no Jinja.
  explicit Template(std::string_view source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// `variables`: names and values. Errors: user error "chat template, line N: …", also where the
  /// template raises an exception or never ends.
  std::string render(Map variables) const;

 private:
  std::unique_ptr<Block> block_;
};

}  // namespace ropesweep::data::jinja
