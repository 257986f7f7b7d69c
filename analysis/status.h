// The live view of a store: counts by state, what each worker does, why tasks wait.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "storage/lock.h"
#include "storage/results.h"

namespace ropesweep {

/// One worker of NAME.d/live.json, which the coordinator writes each second.
struct LiveWorker {
  int64_t rank = 0;
  std::string host, device, task, what;
  double fraction = 0;  ///< of its task, 0 to 1
  double since = 0;     ///< when the task began, seconds since 1970
};

struct LiveView {
  double updated_at = 0;   ///< seconds since 1970
  double eta_seconds = 0;  ///< NaN: unknown
  std::vector<LiveWorker> workers;
  struct Waiting {
    std::string task;
    std::vector<std::string> cells;  ///< none: a fine-tune
    std::string reason;
  };
  std::vector<Waiting> waiting;                               ///< tasks, the first of many
  std::vector<std::pair<std::string, std::string>> left_out;  ///< node or worker, reason
};

/// Nothing when there is no such file, or it can't be read as one.
std::optional<LiveView> read_live(const std::filesystem::path& store_directory);

/// What `status` prints.
struct StoreStatus {
  std::map<std::string, int64_t> cells, fine_tunes;  ///< by status
  std::map<std::string, int64_t> attempts;           ///< by status
  std::vector<std::string> failures;  ///< "12 × cell failed (kind): reason", most frequent first
  std::optional<LockHolder> holder;   ///< nothing: no one runs it
  std::optional<LiveView> live;
  std::map<std::string, std::string> waiting;  ///< pending cell or fine-tune → why it waits
  std::string left_out;  ///< nodes and workers that the last run left out, with reasons
};

StoreStatus make_status(const StoreContents& contents,
                        const std::filesystem::path& store_directory);

/// `now`: seconds since 1970.
void print_status(std::ostream& out, const StoreStatus& status, double now);

/// The same as one JSON object (docs/commands.md).
void print_status_json(std::ostream& out, const StoreStatus& status);

/// "45 s", "12 min", "3 h 05 min", "2 d 4 h"; "?" for NaN.
std::string duration_words(double seconds);

}  // namespace ropesweep
