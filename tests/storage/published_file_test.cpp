// NAME.h5 as others read it: the contract's columns, h5py and pandas in two lines, in the middle of
// a run.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>

#include "storage/handle.h"
#include "storage/snapshot.h"
#include "tests/storage/sample_store.h"

namespace ropesweep {
namespace {

using testing::fill;

/// Standard output and error of a shell command, and its status.
std::pair<std::string, int> output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer;
  while (pipe != nullptr) {
    const size_t count = fread(buffer.data(), 1, buffer.size(), pipe);
    if (count == 0) break;
    text.append(buffer.data(), count);
  }
  return {text, pclose(pipe)};
}

TEST(PublishedFile, IsReadByPandasInTwoLinesInTheMiddleOfARun) {
  if (output_of("/usr/bin/python3 -c 'import h5py, pandas'").second != 0) {
    GTEST_SKIP() << "h5py and pandas are not installed";
  }
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  const auto store = Store::open(file);
  fill(*store);
  store->publish();
  const std::string script =
      "import h5py, pandas; f = h5py.File('" + file.string() + "')\n" +
      "t = pandas.DataFrame({k: f['cells'][k][:] for k in f['cells']})\n"
      "t = t.set_index([t.id.str.decode('utf-8'), t.metric.str.decode('utf-8')])\n"
      "print(len(t), t.loc[('c0', 'accuracy')].value, t.loc[('c2', 'ppl_token')]['count'],"
      " t.loc[('c3', '')].status, f['cells/hits'].dtype, f['cells/value'].dtype,"
      " h5py.check_string_dtype(f['cells/id'].dtype).encoding)\n"
      "print(list(f['curves/f0/training_loss'][:]), f.attrs['schema_version'],"
      " f.attrs['sweep'].strip(), f.attrs['completed'])";
  const auto [text, status] = output_of("/usr/bin/python3 -c \"" + script + "\"");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text,
            "6 0.75 2 b'pending' int64 float64 utf-8\n[4.5, 3.0, 2.25] 1 name = \"test\" 0\n");
}

/// Names of the links of a group, in the file's order.
std::vector<std::string> members(hid_t file, const char* group_name) {
  const Hdf5Group group(H5Gopen2(file, group_name, H5P_DEFAULT), group_name);
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
    static_cast<std::vector<std::string>*>(data)->emplace_back(name);
    return 0;
  };
  H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, add, &names);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}

TEST(PublishedFile, HasExactlyTheContractsColumns) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  const auto store = Store::open(file);
  fill(*store);
  store->publish();
  const Hdf5File h5(H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "open");
  EXPECT_EQ(members(h5, "/cells"),
            sorted({"id",         "model",          "recipe",       "scheme",  "train_scale",
                    "eval_scale", "context_length", "dataset",      "seed",    "metric",
                    "value",      "standard_error", "count",        "sum_nll", "tokens",
                    "hits",       "status",         "failure_kind", "failure", "attempts",
                    "seconds",    "fine_tune",      "device",       "type",    "finished_at"}));
  EXPECT_EQ(members(h5, "/fine_tunes"),
            sorted({"id", "parent", "model", "recipe", "scheme", "train_scale", "seed", "status",
                    "failure_kind", "failure", "steps", "tokens", "training_loss",
                    "validation_loss", "attempts", "seconds", "device", "type"}));
  EXPECT_EQ(members(h5, "/attempts"),
            sorted({"task", "kind", "number", "worker", "host", "device", "status", "failure_kind",
                    "failure", "started_at", "seconds"}));
  EXPECT_EQ(members(h5, "/curves/f0"),
            sorted({"step", "training_loss", "validation_loss", "learning_rate", "gradient_norm"}));
}

TEST(PublishedFile, KeepsSamplesAndOddTexts) {
  const TemporaryFolder directory;
  StoreContents contents;
  CellRecord record;
  record.cell = testing::make_cell("c0", "π-scheme", 256);
  record.status = "finished";
  record.outcome = testing::make_cell_outcome("c0");
  record.outcome.samples = {{0, "line\nwith \"quotes\" and ünïcode", "42", true, "0.35"},
                            {1, std::string("nul\0here", 8), "", false, "end"}};
  contents.cells = {record};
  write_snapshot(directory / "s.h5", contents, {});
  const StoreContents back = read_snapshot(directory / "s.h5");
  EXPECT_EQ(back.cells.at(0).cell.scheme, "π-scheme");
  const auto& samples = back.cells.at(0).outcome.samples;
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].text, record.outcome.samples[0].text);
  EXPECT_TRUE(samples[0].hit);
  EXPECT_EQ(samples[1].text, "nul here") << "HDF5 text ends at a NUL";
}

/// A cell of two documents, and one of two answers.
StoreContents contents_with_records() {
  StoreContents contents;
  const auto add = [&](const char* id, const std::vector<SampleRecord>& samples) {
    CellRecord record;
    record.cell = testing::make_cell(id, "yarn", 256);
    record.status = "finished";
    record.outcome = testing::make_cell_outcome(id);
    record.outcome.samples = samples;
    contents.cells.push_back(record);
  };
  add("documents", {{0, "", "", false, "", false, 60, 120, 2, 3.5},
                    {3, "", "", false, "", false, 40, 80.25, 1, 2}});
  add("answers", {{0, "", "", true, "start", true, 5}, {1, "", "", false, "end", false, 50}});
  return contents;
}

TEST(PublishedFile, RecordsAreReadByH5pyWithoutColumnsThatSayNothing) {
  if (output_of("/usr/bin/python3 -c 'import h5py'").second != 0) {
    GTEST_SKIP() << "h5py is not installed";
  }
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  write_snapshot(file, contents_with_records(), {});
  const std::string script =
      "import h5py; s = h5py.File('" + file.string() +
      "')['samples']\n"
      "for cell in sorted(s): print(cell, {k: s[cell][k][:].tolist() for k in sorted(s[cell])})";
  const auto [text, status] = output_of("/usr/bin/python3 -c \"" + script + "\"");
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text,
            "answers {'hit': [1, 0], 'index': [0, 1], 'location': [b'start', b'end'], "
            "'reference': [b'', b''], 'second_hit': [1, 0], 'text': [b'', b''], "
            "'tokens': [5, 50]}\n"
            "documents {'hit': [0, 0], 'index': [0, 3], 'location': [b'', b''], "
            "'nll': [120.0, 80.25], 'reference': [b'', b''], 'text': [b'', b''], "
            "'tokens': [60, 40], 'window_nll': [3.5, 2.0], 'windows': [2, 1]}\n");
}

TEST(PublishedFile, KeepsRecords) {
  const TemporaryFolder directory;
  const StoreContents contents = contents_with_records();
  write_snapshot(directory / "s.h5", contents, {});
  const StoreContents back = read_snapshot(directory / "s.h5");
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(nlohmann::json(back.cells.at(i).outcome.samples),
              nlohmann::json(contents.cells[i].outcome.samples));
  }
}

// As versions before there were records wrote it: five columns, whatever they say.
TEST(PublishedFile, OfBeforeThereWereRecordsOpens) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  StoreContents contents = contents_with_records();
  contents.cells.change(1, [](CellRecord& cell) {
    cell.outcome.samples = {{4, "said", "42", true, "0.35", true, 9, 1, 1, 1}};
  });
  write_snapshot(file, contents, {});
  {
    const Hdf5File h5(H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open");
    for (const char* column : {"second_hit", "tokens", "nll", "windows", "window_nll"}) {
      hdf5_check(H5Ldelete(h5, (std::string("/samples/answers/") + column).c_str(), H5P_DEFAULT),
                 "delete");
    }
  }
  const auto samples = read_store(file).cells.at(1).outcome.samples;
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(nlohmann::json(samples[0]),
            nlohmann::json(SampleRecord{4, "said", "42", true, "0.35"}));
}

TEST(PublishedFile, OfANewerSchemaIsRefused) {
  const TemporaryFolder directory;
  const auto file = directory / "s.h5";
  write_snapshot(file, {}, {});
  {
    const Hdf5File h5(H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), "open");
    const Hdf5Attribute version(H5Aopen(h5, "schema_version", H5P_DEFAULT), "open");
    const int64_t newer = 999;
    hdf5_check(H5Awrite(version, H5T_NATIVE_INT64, &newer), "write");
  }
  for (const auto& open : {std::function<void()>([&] { read_store(file); }),
                           std::function<void()>([&] { Store::open(file); })}) {
    try {
      open();
      FAIL() << "a newer schema was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), FailureKind::user);
      EXPECT_NE(std::string(error.what()).find("schema version 999"), std::string::npos);
    }
  }
}

TEST(PublishedFile, IsListedByH5dump) {
  if (output_of("h5dump --version").second != 0) GTEST_SKIP() << "h5dump is not installed";
  const TemporaryFolder directory;
  const auto store = Store::open(directory / "s.h5");
  fill(*store);
  store->publish();
  const auto [text, status] = output_of("h5dump -d /cells/scheme " + (directory / "s.h5").string());
  EXPECT_EQ(status, 0);
  EXPECT_NE(text.find("\"yarn\""), std::string::npos) << text;
}

}  // namespace
}  // namespace ropesweep
