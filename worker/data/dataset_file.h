// A data set file that appears whole or not at all: written beside, made last, renamed.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/output_file.h"

namespace ropesweep::data {

class DatasetFile {
 public:
  /// Opens FILE.part. Errors (of all calls): transient error naming the file.
  explicit DatasetFile(std::filesystem::path file);
  /// Removes what was not committed.
  ~DatasetFile();
  DatasetFile(const DatasetFile&) = delete;
  DatasetFile& operator=(const DatasetFile&) = delete;

  /// One line.
  void write(const nlohmann::ordered_json& record);
  /// The file gets its name.
  void commit();

 private:
  std::filesystem::path file_, beside_;
  OutputFile stream_;
};

}  // namespace ropesweep::data
