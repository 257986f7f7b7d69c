// The part file of a data set.
#include "worker/data/dataset_file.h"

#include "worker/llama/durable_file.h"

namespace ropesweep::data {
DatasetFile::DatasetFile(std::filesystem::path file)
    : file_(std::move(file)),
      beside_(file_.string() + ".part"),
      stream_(beside_, OutputFile::Mode::replace) {}

DatasetFile::~DatasetFile() {
  if (beside_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove(beside_, ignored);
}

void DatasetFile::write(const nlohmann::ordered_json& record) {
  stream_.write(record.dump() + "\n");
}

void DatasetFile::commit() {
  stream_.sync();
  stream_.close();
  llama::rename_durably(beside_, file_);
  beside_.clear();
}

}  // namespace ropesweep::data
