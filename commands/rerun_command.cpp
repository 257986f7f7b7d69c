// ropesweep rerun: marks cells, and what they were made from, to be computed again by the next run.
#include <filesystem>
#include <iostream>
#include <system_error>

#include "analysis/rerun.h"
#include "commands/options.h"
#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep::commands {
namespace {

/// A fine-tune that runs again starts from nothing: its saved state and weights go.
void remove_checkpoints(const Store& store, const std::vector<std::string>& fine_tunes) {
  for (const std::string& id : fine_tunes) {
    const std::filesystem::path directory = store.directory() / "checkpoints" / id;
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    if (error) throw_transient_error("{}: cannot remove: {}", directory.string(), error.message());
  }
}

void print_marks(const RerunMarks& marks, bool dry_run) {
  for (const std::string& id : marks.fine_tunes) std::cout << "fine-tune " << id << '\n';
  for (const std::string& id : marks.cells) std::cout << "cell " << id << '\n';
  std::cerr << fmt::format("cells: {}, fine-tunes: {}; {}\n", marks.cells.size(),
                           marks.fine_tunes.size(),
                           dry_run ? "they would run again" : "the next 'run' does them again");
}

}  // namespace

int rerun_command(const Arguments& arguments) {
  namespace po = boost::program_options;
  std::string store_file;
  RerunChoice choice;
  bool dry_run = false;
  po::options_description options("Options of rerun");
  auto add = options.add_options();
  add("store", po::value(&store_file)->value_name("STORE"), "NAME.h5, the first argument");
  add("failed", po::bool_switch(&choice.failed),
      "failed and skipped cells, and the failed fine-tunes that they wait for");
  add("where", po::value(&choice.where)->value_name("EXPR"),
      "cells for which it holds (see query)");
  add("with-fine-tunes", po::bool_switch(&choice.with_fine_tunes),
      "and the fine-tunes that these cells were made from");
  add("dry-run", po::bool_switch(&dry_run), "print what would be marked, mark nothing");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep rerun STORE --failed | --where EXPR [options]", options,
                     positional, values)) {
    return 0;
  }
  if (store_file.empty()) throw_user_error("rerun: name a store: ropesweep rerun STORE --failed");
  const RerunMarks marks = choose_rerun(read_store(store_file), choice);
  if (dry_run) {
    print_marks(marks, dry_run);
    return 0;
  }
  // Chosen again under the lock: a run may just have ended.
  const auto store = Store::open(store_file);
  const RerunMarks final_marks = choose_rerun(store->contents(), choice);
  store->rerun(final_marks.fine_tunes);
  store->rerun(final_marks.cells);
  store->sync();
  remove_checkpoints(*store, final_marks.fine_tunes);
  store->publish();
  print_marks(final_marks, dry_run);
  return 0;
}

}  // namespace ropesweep::commands
