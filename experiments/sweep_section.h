// One table of a sweep file being read: typed access to its keys, with errors that say file, line,
// table and key. Keys that nobody read are unknown. Internal to experiments/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "experiments/error.h"
#include "experiments/toml_value.h"

namespace ropesweep {

/// The numbers that a setting accepts: from `least` (itself too unless `open`) up to `most`.
struct NumberRange {
  double least = 0;
  bool open = false;
  double most = 1e300;
  bool below = false;  ///< `most` itself is excluded
};

/// Where a sweep's text is from.
struct SweepOrigin {
  /// Of a file: its paths are relative to where it lies.
  explicit SweepOrigin(const std::string& path)
      : file(path), directory(std::filesystem::absolute(path).parent_path()) {}

  std::string file;                 ///< as messages name it
  std::filesystem::path directory;  ///< of relative paths; empty: there is none
  bool shipped = false;             ///< a sweep of the program (experiments/shipped_sweeps.h)
};

class SweepSection {
 public:
  /// `name` as the file writes it, "[axes]"; empty: the top level. `value` must outlive the
  /// section. Errors: user error when the value is no table.
  SweepSection(const TomlValue& value, std::string name, SweepOrigin origin);

  // Each reads a key into `setting` when it is there and returns whether it is.
  bool read(const std::string& key, std::string& setting);
  bool read(const std::string& key, bool& setting);
  bool read(const std::string& key, int64_t& setting, int64_t least);
  bool read(const std::string& key, double& setting, const NumberRange& range);
  bool read(const std::string& key, uint64_t& setting);
  bool read_choice(const std::string& key, std::string& setting,
                   const std::vector<std::string>& choices);

  /// The member of any type, or null.
  const TomlValue* member(const std::string& key);
  /// A member table as a section named [name.key]; none when absent.
  std::optional<SweepSection> subsection(const std::string& key);
  /// An axis' values: a scalar is a list of one. Errors: an empty list.
  std::vector<const TomlValue*> values(const std::string& key);

  /// Call when all known keys were read. Errors: the first unknown key, with the nearest known one.
  void reject_unknown() const;

  /// The path a text means: `${NAME}` is the environment variable, `${NAME:-text}` the text where
  /// that is not set or empty; relative ones are relative to the origin's directory, but those that
  /// a variable begins in a shipped sweep to the current one. Absolute, normalised. Errors: user
  /// error when a variable without such a text is not set, and for a relative path where the origin
  /// has no directory.
  std::string absolute_path(const std::string& path) const;

  const TomlValue& table() const { return *table_; }
  const std::string& name() const { return name_; }

  // Typed values, for list items. Errors: user error at the value's line.
  std::string text(const TomlValue& value, const std::string& key) const;
  int64_t integer(const TomlValue& value, const std::string& key, int64_t least) const;
  double number(const TomlValue& value, const std::string& key, const NumberRange& range) const;

  /// Throws a user error "FILE:LINE: [section] message".
  template <typename... Args>
  [[noreturn]] void fail(const TomlValue& at, fmt::format_string<Args...> format,
                         Args&&... args) const {
    fail_at(at.line, fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void fail_at(int64_t line, const std::string& message) const;

 private:
  const TomlValue* table_;
  std::string name_;
  SweepOrigin origin_;
  std::vector<std::string> known_;
};

/// "did you mean …?" or the list of known names, for the end of a message.
std::string suggestion(const std::string& word, const std::vector<std::string>& known);

}  // namespace ropesweep
