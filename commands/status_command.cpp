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

/// Prints each second until no run is going on. The store is read again for a small share of the
/// time only: the run needs the processor more.
void watch(const std::filesystem::path& store) {
  constexpr double kReadingShare = 0.05;
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  StoreContents contents;
  double next_reading = 0;
  for (;;) {
    const bool running = lock_holder(store_directory(store)).has_value();
    const double before = seconds_since_epoch();
    if (before >= next_reading || !running) {
      contents = read_results(store, Details::none);
      const double after = seconds_since_epoch();
      next_reading = after + (after - before) / kReadingShare;
    }
    std::ostringstream text;
    print_status(text, make_status(contents, store_directory(store)), seconds_since_epoch());
    if (terminal) std::cout << "\033[H\033[J";  // home, clear below: no flicker
    std::cout << text.str() << (terminal ? "" : "\n") << std::flush;
    if (!running) return;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

int status_command(const Arguments& arguments) {
  namespace po = boost::program_options;
  std::string store;
  std::string format = "text";
  bool watching = false;
  po::options_description options("Options of status");
  auto add = options.add_options();
  add("store", po::value(&store)->value_name("STORE"), "NAME.h5, the first argument");
  add("watch", po::bool_switch(&watching), "again each second until the run ends");
  add("format", po::value(&format)->default_value(format)->value_name("F"), "text | json");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep status STORE [--watch] [--format F]", options,
                     positional, values)) {
    return 0;
  }
  if (store.empty()) throw_user_error("status: name a store: ropesweep status STORE");
  if (format != "text" && format != "json") {
    throw_user_error("--format {}: text or json", format);
  }
  if (watching && format == "json")
    throw_user_error("--watch prints text: leave out --format json");
  if (watching) {
    watch(store);
  } else if (format == "json") {
    print_status_json(std::cout, make_status(read_store(store), store_directory(store)));
  } else {
    print_status(std::cout, make_status(read_results(store, Details::none), store_directory(store)),
                 seconds_since_epoch());
  }
  return 0;
}

}  // namespace ropesweep::commands
