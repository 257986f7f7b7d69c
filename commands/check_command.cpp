// ropesweep check: is all there, and does the published file say what the journal says?
#include <iostream>

#include "commands/options.h"
#include "experiments/error.h"
#include "storage/store.h"

namespace ropesweep::commands {
namespace {

constexpr int kDamaged = 2;  ///< the exit code of an input that is wrong

}  // namespace

int check_command(const Arguments& arguments) {
  namespace po = boost::program_options;
  std::string store;
  bool repair = false;
  po::options_description options("Options of check");
  auto add = options.add_options();
  add("store", po::value(&store)->value_name("STORE"), "NAME.h5, the first argument");
  add("repair", po::bool_switch(&repair),
      "bring back what can be, keep aside what is replaced, publish the file anew");
  po::positional_options_description positional;
  positional.add("store", 1);
  po::variables_map values;
  if (!parse_options(arguments, "ropesweep check STORE [--repair]", options, positional, values)) {
    return 0;
  }
  if (store.empty()) throw_user_error("check: name a store: ropesweep check STORE");
  const CheckReport report = check_store(store, repair);
  for (const std::string& finding : report.findings) std::cout << finding << '\n';
  for (const std::string& note : report.notes) std::cout << "note: " << note << '\n';
  for (const std::string& action : report.actions) std::cout << action << '\n';
  if (report.findings.empty()) {
    std::cout << store << ": all is well\n";
    return 0;
  }
  std::cout << (report.repaired ? "repaired\n" : "'ropesweep check --repair' repairs\n");
  return report.repaired ? 0 : kDamaged;
}

}  // namespace ropesweep::commands
