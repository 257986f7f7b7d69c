// Which cells and fine-tunes `rerun` marks.
#pragma once

#include <string>
#include <vector>

#include "storage/results.h"

namespace ropesweep {

struct RerunChoice {
  bool failed = false;  ///< failed and skipped cells, and the failed fine-tunes they wait for
  std::string where;    ///< cells by an expression over /cells
  bool with_fine_tunes = false;  ///< and what the chosen cells were made from, parents too
};

struct RerunMarks {
  std::vector<std::string> cells,
      fine_tunes;  ///< ids, in the order of planning; pending ones are not listed
};

/// Errors: user error when neither `failed` nor `where` is given, and those of rows_where.
RerunMarks choose_rerun(const StoreContents& contents, const RerunChoice& choice);

}  // namespace ropesweep
