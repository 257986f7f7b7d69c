// ropesweep status: how far a store is, and what its workers do now.
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <sstream>
#include <thread>

#include "analysis/status.h"
#include "commands/options.h"
#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep::commands {
namespace {

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Prints until no run is going on.
void watch(const std::filesystem::path& store) {
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  for (;;) {
    const StoreStatus status = make_status(read_store(store), store_directory(store));
    std::ostringstream text;
    print_status(text, status, seconds_since_epoch());
    if (terminal) std::cout << "\033[H\033[J";  // home, clear below: no flicker
    std::cout << text.str() << (terminal ? "" : "\n") << std::flush;
    if (!status.holder) return;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

int status_command(const Arguments& arguments) {
  namespace po = boost::program_options;
  std::string store;
  bool watching = false;
  po::options_description options("Options of status");
  auto add = options.add_options();
  add("store", po::value(&store)->value_name("STORE"), "NAME.h5, the first argument");
  add("watch", po::bool_switch(&watching), "again each second until the run ends");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep status STORE [--watch]", options, positional, values)) {
    return 0;
  }
  if (store.empty()) throw_user_error("status: name a store: ropesweep status STORE");
  if (watching) {
    watch(store);
  } else {
    print_status(std::cout, make_status(read_store(store), store_directory(store)),
                 seconds_since_epoch());
  }
  return 0;
}

}  // namespace ropesweep::commands
