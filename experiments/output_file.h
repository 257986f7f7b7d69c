// Files that are written with every step checked: an error names the file, the system's reason and
// what to do about it, and no file of ours is half-written under its own name.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "experiments/error.h"
#include "experiments/owned_descriptor.h"

namespace ropesweep {

/// A file or its disk failed: no task is to blame. Transient.
class FileError : public Error {
 public:
  /// `error`: an errno.
  FileError(int error, const std::string& message)
      : Error(FailureKind::transient, message), error_(error) {}
  /// Time or a person elsewhere may mend it: no room, a disk or a file server that fails. Not a
  /// matter of permissions, of a name that is not there, or of this process.
  bool may_pass() const;

 private:
  int error_;
};

/// Throws FileError "PATH: cannot ACTION: REASON; REMEDY". `error`: an errno.
[[noreturn]] void throw_file_error(const std::filesystem::path& path, std::string_view action,
                                   int error);

/// The same of what std::filesystem reports.
[[noreturn]] void throw_file_error(const std::filesystem::filesystem_error& error);

/// What stands in for a stream where what was written counts: over short writes and interrupts.
/// Errors (of all calls): transient, by throw_file_error.
class OutputFile {
 public:
  enum class Mode { replace, append };
  OutputFile() = default;  ///< not open
  OutputFile(std::filesystem::path path, Mode mode);
  /// What was not flushed is lost: a destructor can't tell.
  ~OutputFile() = default;
  OutputFile(OutputFile&&) = default;
  OutputFile& operator=(OutputFile&&) = default;

  bool is_open() const { return file_.valid(); }
  const std::filesystem::path& path() const { return path_; }

  void write(std::string_view text);  ///< buffered
  void flush();                       ///< to the system: it survives this process
  void sync();                        ///< to the disk: it survives the machine
  void close();

 private:
  std::filesystem::path path_;
  OwnedDescriptor file_;
  std::string buffer_;
};

/// Syncs a file's (or a directory's) content to the disk. Errors: transient, naming it.
void sync_path(const std::filesystem::path& path);

/// Syncs the directory of `path`, so that its name is on the disk. Errors: transient, naming it.
void sync_parent(const std::filesystem::path& path);

/// Makes `path` hold `text` by writing beside it and renaming, so that it is the old one or this
/// one whenever it is looked at. `durable`: synced too, its name as well. Errors: transient; the
/// old file is untouched then and nothing is left beside it.
void write_whole(const std::filesystem::path& path, std::string_view text, bool durable);

/// The same for what is only a help to later runs: false when it could not be written.
bool try_write_whole(const std::filesystem::path& path, std::string_view text);

}  // namespace ropesweep
