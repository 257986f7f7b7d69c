// ropesweep report: hands a fresh snapshot of the store to analysis/plots/report.py, which makes
// one page.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <system_error>

#include "analysis/derived_tables.h"
#include "analysis/format.h"
#include "commands/options.h"
#include "experiments/error.h"
#include "experiments/output_file.h"
#include "storage/snapshot.h"
#include "storage/store.h"

extern char** environ;  // NOLINT: POSIX's name

namespace ropesweep::commands {
namespace {

namespace fs = std::filesystem;

/// analysis/plots/report.py beside the executable or above it (build/release/ropesweep), installed
/// below share/ropesweep, or in the source tree that it was built from.
fs::path find_script() {
  const fs::path script = fs::path("analysis") / "plots" / "report.py";
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = executable.parent_path(); !error; folder = folder.parent_path()) {
    if (fs::exists(folder / script)) return folder / script;
    if (fs::exists(folder / "share" / "ropesweep" / script)) {
      return folder / "share" / "ropesweep" / script;
    }
    if (folder == folder.root_path()) break;
  }
  const fs::path source = fs::path(ROPESWEEP_SOURCE_DIR) / script;
  if (fs::exists(source)) return source;
  throw_user_error("report: {} is neither near {} nor in {}; run ropesweep from its source tree",
                   script.string(), executable.string(), ROPESWEEP_SOURCE_DIR);
}

/// Runs a program and waits; its exit status, or 127 when it can't be started.
int run_program(std::vector<std::string> words, bool silent) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (silent) {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  pid_t child = -1;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return 127;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 127;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/// The first Python that has what the report needs: Debian's packages belong to /usr/bin/python3,
/// which another python3 may hide.
std::string find_python() {
  std::vector<std::string> candidates = {"python3", "/usr/bin/python3"};
  if (const char* chosen = std::getenv("ROPESWEEP_PYTHON")) candidates = {chosen};
  for (const std::string& python : candidates) {
    if (run_program({python, "-c", "import h5py, pandas, matplotlib"}, true) == 0) return python;
  }
  throw_user_error(
      "report: {} cannot import h5py, pandas and matplotlib; run install.sh (Debian: python3-h5py "
      "python3-pandas python3-matplotlib), or set ROPESWEEP_PYTHON",
      candidates.front());
}

/// A directory of its own for the snapshot, gone at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "ropesweep-report-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      throw_transient_error("{}: cannot create: {}", pattern, std::strerror(errno));
    }
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// NAME.pairs.csv: what the page takes differences from.
void write_pairs_beside(const fs::path& snapshot, const StoreContents& contents) {
  const fs::path file = fs::path(snapshot).replace_extension(".pairs.csv");
  std::ostringstream text;
  print_csv(text, make_pairs(contents));
  write_whole(file, text.str(), false);
}

}  // namespace

int report_command(const Arguments& arguments) {
  namespace po = boost::program_options;
  std::string store, output = "report.html";
  po::options_description options("Options of report");
  auto add = options.add_options();
  add("store", po::value(&store)->value_name("STORE"), "NAME.h5, the first argument");
  add("output", po::value(&output)->value_name("FILE"), "the page (report.html)");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep report STORE [--output FILE]", options, positional,
                     values)) {
    return 0;
  }
  if (store.empty()) throw_user_error("report: name a store: ropesweep report STORE");
  // Fresh, whether or not a run is going on and when it last published.
  const TemporaryDirectory directory;
  const fs::path snapshot = directory.path() / fs::path(store).filename();
  const StoreContents contents = read_store(store);
  write_snapshot(snapshot, contents, {});
  write_pairs_beside(snapshot, contents);
  const std::string script = find_script().string();
  const int status = run_program({find_python(), script, snapshot.string(), output}, false);
  if (status != 0) {
    throw_transient_error("report: {} ended with status {}; its message is above", script, status);
  }
  std::cout << output << '\n';
  return 0;
}

}  // namespace ropesweep::commands
