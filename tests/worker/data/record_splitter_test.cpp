// One array of records, streamed element by element, and what is said of broken ones.
#include "worker/data/record_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "experiments/error.h"
#include "tests/temporary_folder.h"
#include "worker/data/record_reader.h"

namespace ropesweep::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Split {
  std::vector<std::string> texts, places;
  std::string error;
};

Split split(const std::string& bytes) {
  const TemporaryFolder directory;
  Split result;
  try {
    RecordSplitter records(directory.write("f.json", bytes));
    for (std::string text; records.next(text);) {
      result.texts.push_back(text);
      const std::string place = records.place();
      result.places.push_back(place.substr(place.find("f.json")));
    }
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), FailureKind::user);
    result.error = error.what();
  }
  return result;
}

TEST(RecordSplitter, AnArrayGivesItsElements) {
  const Split result = split(
      "\xEF\xBB\xBF \n[\n {\"a\": [1, {\"b\": 2}]},\n{\n\"c\": \"]}, \\\" [\"}\n,7, "
      "\"x,y\"  ]\n");
  EXPECT_EQ(result.error, "");
  EXPECT_THAT(result.texts,
              ElementsAre("{\"a\": [1, {\"b\": 2}]}", "{\n\"c\": \"]}, \\\" [\"}", "7", "\"x,y\""));
  EXPECT_THAT(result.places, ElementsAre("f.json:3 (element 0)", "f.json:4 (element 1)",
                                         "f.json:6 (element 2)", "f.json:6 (element 3)"));
}

TEST(RecordSplitter, LinesStayLines) {
  const Split result = split("\n{\"a\": 1}\r\n  \n[2]\n{}");
  EXPECT_THAT(result.texts, ElementsAre("{\"a\": 1}\r", "[2]", "{}"));
  EXPECT_THAT(result.places, ElementsAre("f.json:2", "f.json:4", "f.json:5"));
}

TEST(RecordSplitter, AnEmptyArrayHasNone) {
  const Split result = split("[ ]");
  EXPECT_TRUE(result.texts.empty());
  EXPECT_EQ(result.error, "");
}

TEST(RecordSplitter, BrokenArraysNameTheLine) {
  EXPECT_THAT(split("[{}\n,{\"a\": \"").error,
              HasSubstr("f.json:2: the array of records has no end"));
  EXPECT_THAT(split("[{}\n").error, HasSubstr("f.json:2: the array of records has no end"));
  EXPECT_THAT(split("[{} {}]").error, HasSubstr("lacks a comma"));
  EXPECT_THAT(split("[{},]").error, HasSubstr("comma with no record after it"));
  EXPECT_THAT(split("[{}]\n{}").error, HasSubstr("f.json:2: the array of records has ended"));
}

/// Elements that cross the reader's blocks of 256 KiB.
TEST(RecordSplitter, ElementsCrossBlocks) {
  std::string bytes = "[";
  for (int i = 0; i < 400; ++i) {
    bytes += (i > 0 ? "," : "") + std::string("{\"t\": \"") + std::string(3000 + i, 'x') + "\"}\n";
  }
  const Split result = split(bytes + "]");
  ASSERT_EQ(result.texts.size(), 400u);
  for (size_t i = 0; i < result.texts.size(); ++i) EXPECT_EQ(result.texts[i].size(), 3009 + i);
}

TEST(RecordReader, CountsBadElementsAndGoesOn) {
  const TemporaryFolder directory;
  const auto file = directory.write("f.json", R"([{"t": "a"}, {"t": 5}, 9, {"t": "b"}])");
  RecordReader reader(file, true);
  std::vector<std::string> texts;
  std::vector<int64_t> indices;
  while (reader.next([&](const Record& record, int64_t index) {
    texts.push_back(record.text("t"));
    indices.push_back(index);
  })) {
  }
  EXPECT_THAT(texts, ElementsAre("a", "b"));
  EXPECT_THAT(indices, ElementsAre(0, 3));
  EXPECT_EQ(reader.bad_records(), 2);

  RecordReader strict(file, false);
  const auto take = [](const Record& record, int64_t) { record.text("t"); };
  EXPECT_TRUE(strict.next(take));
  try {
    strict.next(take);
    FAIL() << "the second record is malformed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("f.json:1 (element 1): t: expected a text"));
  }
}

}  // namespace
}  // namespace ropesweep::data
