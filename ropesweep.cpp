// The front door: picks the subcommand, and turns what it throws into one line on standard error
// and an exit code. Nothing is computed here.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include "commands/command.h"
#include "experiments/error.h"
#include "experiments/nearest_name.h"

namespace {

using ropesweep::commands::Arguments;

struct Subcommand {
  const char* name;
  int (*run)(const Arguments& arguments);
  const char* summary;  ///< empty: hidden from the help
};

const Subcommand subcommands[] = {
    {"plan", ropesweep::commands::plan_command, "what a sweep will compute and what it costs"},
    {"run", ropesweep::commands::run_command, "run, resume or extend a sweep"},
    {"submit", ropesweep::commands::submit_command, "write and submit a sweep's Slurm script"},
    {"status", ropesweep::commands::status_command, "how far a sweep is, and what its workers do"},
    {"query", ropesweep::commands::query_command, "a store's tables: filter, select, pivot"},
    {"rerun", ropesweep::commands::rerun_command, "mark cells to be run again"},
    {"report", ropesweep::commands::report_command, "tables and plots in one HTML page"},
    {"check", ropesweep::commands::check_command, "verify a store, and repair it"},
    {"export", ropesweep::commands::export_command, "a fine-tune's weights out of a store"},
    {"eval", ropesweep::commands::eval_command, "measure one model on one task"},
    {"finetune", ropesweep::commands::finetune_command, "train one model under one scheme"},
    {"generate", ropesweep::commands::generate_command, "greedy continuation of a prompt"},
    {"tokenize", ropesweep::commands::tokenize_command, "text to ids and back"},
    {"encoding", ropesweep::commands::encoding_command, "a scheme's frequencies and amplitudes"},
    {"data", ropesweep::commands::data_command, "build a data set file"},
    {"runner", ropesweep::commands::runner_command, ""},
};

enum ExitCode { exit_failed = 1, exit_user = 2, exit_again = 75 };

void print_help() {
  std::cout << "usage: ropesweep COMMAND [options]\n\n"
               "Sweeps of rotary position encodings of Llama models.\n\n";
  for (const Subcommand& subcommand : subcommands) {
    if (*subcommand.summary == '\0') continue;
    std::cout << fmt::format("  {:<10} {}\n", subcommand.name, subcommand.summary);
  }
  std::cout << "\n  ropesweep COMMAND --help   a command's options\n"
               "  ropesweep --version        the program's version\n";
}

const Subcommand& find_subcommand(const std::string& name) {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : subcommands) {
    if (name == subcommand.name) return subcommand;
    if (*subcommand.summary != '\0') names.emplace_back(subcommand.name);
  }
  const std::string nearest = ropesweep::nearest_name(name, names);
  ropesweep::throw_user_error(
      "unknown command '{}'{}", name,
      nearest.empty() ? "; ropesweep --help lists all" : "; did you mean '" + nearest + "'?");
}

int dispatch(const Arguments& arguments) {
  if (arguments.empty())
    ropesweep::throw_user_error("no command given; ropesweep --help lists all");
  const std::string& first = arguments.front();
  if (first == "--help" || first == "-h" || first == "help") {
    print_help();
    return EXIT_SUCCESS;
  }
  if (first == "--version") {
    std::cout << "ropesweep " << ROPESWEEP_VERSION << "\n";
    return EXIT_SUCCESS;
  }
  return find_subcommand(first).run(Arguments(arguments.begin() + 1, arguments.end()));
}

/// One line, whatever the message holds.
void print_failure(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::cout.flush();
  std::fprintf(stderr, "ropesweep: %s\n", message.c_str());
}

int exit_code_of(ropesweep::FailureKind kind) {
  switch (kind) {
    case ropesweep::FailureKind::user:
      return exit_user;
    case ropesweep::FailureKind::time:
      return exit_again;
    default:
      return exit_failed;
  }
}

/// A standard stream that is closed would be the next file that is opened, a store's journal say,
/// and take what is printed. One that stands in for it fails when it is written.
void hold_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    const int how = descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR;
    static_cast<void>(::open("/dev/null", how));  // the lowest free number: this one
  }
}

}  // namespace

int main(int count, char** values) {
  hold_standard_streams();
  std::signal(SIGPIPE,
              SIG_IGN);  // a reader or peer that is gone is an error of a write, not our end
  try {
    const int code = dispatch(Arguments(values + 1, values + count));
    std::cout.flush();
    if (!std::cout)
      ropesweep::throw_transient_error(
          "standard output: cannot be written; is it closed, or its disk full? Run again");
    return code;
  } catch (const ropesweep::Error& error) {
    print_failure(error.what());
    return exit_code_of(error.kind());
  } catch (const std::bad_alloc&) {
    print_failure("out of memory; try a shorter context, bf16, or a machine with more memory");
    return exit_failed;
  } catch (const std::exception& error) {
    print_failure(error.what());
    return exit_failed;
  }
}
