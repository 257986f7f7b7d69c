// The part file of a data set.
#include "worker/data/dataset_file.h"

#include "experiments/error.h"
#include "worker/llama/durable_file.h"

namespace ropesweep::data {
DatasetFile::DatasetFile(std::filesystem::path file)
    : file_(std::move(file)),
      beside_(file_.string() + ".part"),
      stream_(beside_, std::ios::binary | std::ios::trunc) {}

DatasetFile::~DatasetFile() {
  if (beside_.empty()) return;
  stream_.close();
  std::error_code ignored;
  std::filesystem::remove(beside_, ignored);
}

void DatasetFile::write(const nlohmann::ordered_json& record) { stream_ << record.dump() << '\n'; }

void DatasetFile::commit() {
  stream_.close();
  if (!stream_) throw_transient_error("{}: can't be written (is there room?)", beside_.string());
  llama::sync_path(beside_);
  llama::rename_durably(beside_, file_);
  beside_.clear();
}

}  // namespace ropesweep::data
