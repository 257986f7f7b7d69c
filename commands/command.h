// The subcommands: each is one file, NAME_command.cpp, with one function here and one line in
// ropesweep.cpp's table.
#pragma once

#include <string>
#include <vector>

namespace ropesweep::commands {

using Arguments = std::vector<std::string>;  ///< what follows the subcommand's name

/// Exit codes (docs/commands.md): 0 all done · 1 the program or machine failed · 2 the input is
/// wrong · 3 the sweep ended with failed or skipped cells · 75 work remains, run again. Functions
/// throw ropesweep::Error; the front door turns kinds into codes (user → 2, others → 1).
int encoding_command(const Arguments& arguments);
int tokenize_command(const Arguments& arguments);
int generate_command(const Arguments& arguments);
int eval_command(const Arguments& arguments);
int finetune_command(const Arguments& arguments);
int data_command(const Arguments& arguments);
int export_command(const Arguments& arguments);
int plan_command(const Arguments& arguments);
int run_command(const Arguments& arguments);
int submit_command(const Arguments& arguments);
int status_command(const Arguments& arguments);
int query_command(const Arguments& arguments);
int rerun_command(const Arguments& arguments);
int report_command(const Arguments& arguments);
int check_command(const Arguments& arguments);
/// Hidden: the child process that owns the device (`ropesweep runner --socket FD`).
int runner_command(const Arguments& arguments);

}  // namespace ropesweep::commands
