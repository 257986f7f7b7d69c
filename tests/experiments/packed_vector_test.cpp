// Records come out of a packed vector as they went in, to the bit.
#include "experiments/packed_vector.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

namespace ropesweep {
namespace {

struct Note {
  std::string id, kind, list;
  int64_t count = 0;
  double value = 0;
};

void pack(Packer& out, const Note& note) {
  out.own(note.id);
  out.shared(note.kind);
  out.pieces(note.list);
  out.integer(note.count);
  out.real(note.value);
}

void unpack(Unpacker& in, Note& note) {
  note.id = in.own();
  note.kind = in.shared();
  note.list = in.pieces();
  note.count = in.integer();
  note.value = in.real();
}

Note note_of(const std::string& id) { return {id, "kind", "a,b", 1, 1}; }

void expect_equal(const Note& a, const Note& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.list, b.list);
  EXPECT_EQ(a.count, b.count);
  EXPECT_EQ(std::bit_cast<uint64_t>(a.value), std::bit_cast<uint64_t>(b.value)) << a.value;
}

TEST(PackedVector, GivesBackEveryBit) {
  using Limits = std::numeric_limits<double>;
  std::vector<Note> notes;
  for (const std::string id :
       {"", "0", "00", "0123456789abcdef0123", "0123456789ABCDEF", "abc", "g0", "\xff\xfe", "ü"}) {
    notes.push_back(note_of(id));
  }
  notes.push_back(note_of(std::string("a\0b", 3)));
  notes.push_back(note_of(std::string(1000, 'f')));
  for (const std::string list : {"", ",", ",,", "a", "a,", ",a", "{\"a\":1,\"b\":[2,3]}"}) {
    notes.push_back(note_of("list"));
    notes.back().list = list;
  }
  for (const int64_t count :
       {int64_t{0}, int64_t{-1}, int64_t{127}, int64_t{128}, INT64_MAX, INT64_MIN}) {
    notes.push_back(note_of("count"));
    notes.back().count = count;
  }
  for (const double value :
       {0.0, -0.0, 1.0, -1.0, 0.1, 4503599627370496.0, 4503599627370497.0, 9007199254740992.0,
        1e300, Limits::max(), Limits::denorm_min(), Limits::infinity(), -Limits::infinity(),
        Limits::quiet_NaN(), std::bit_cast<double>(uint64_t{0x7ff8000000000123})}) {
    notes.push_back(note_of("value"));
    notes.back().value = value;
  }
  const PackedVector<Note> packed(notes);
  ASSERT_EQ(packed.size(), notes.size());
  size_t i = 0;
  for (const Note& note : packed) expect_equal(note, notes[i++]);
  EXPECT_EQ(i, notes.size());
}

TEST(PackedVector, ChangesOneAndLeavesTheOthers) {
  PackedVector<Note> packed = {note_of("a"), note_of("b"), note_of("c")};
  packed.change(1, [](Note& note) { note.kind = std::string(500, 'k'); });
  packed.set(2, note_of("d"));
  EXPECT_EQ(packed.front().id, "a");
  EXPECT_EQ(packed[1].id, "b");
  EXPECT_EQ(packed[1].kind, std::string(500, 'k'));
  EXPECT_EQ(packed.back().id, "d");
  EXPECT_EQ(packed.at(0).kind, "kind");
  EXPECT_THROW(packed.at(3), std::out_of_range);
  static_assert(!std::is_assignable_v<decltype((packed[0].id)), std::string>,
                "what is read is a copy: writing to it would be lost");
}

TEST(PackedVector, CopiesOutliveWhatTheyWereMadeFrom) {
  auto first = std::make_optional<PackedVector<Note>>({note_of("a"), note_of("b")});
  const PackedVector<Note> copy = *first;
  PackedVector<Note> moved = std::move(*first);
  first.reset();
  expect_equal(copy[1], note_of("b"));
  expect_equal(moved[0], note_of("a"));
  moved = copy;
  moved.push_back(note_of("c"));
  expect_equal(moved[2], note_of("c"));
  EXPECT_EQ(copy.size(), 2U);
  moved = {};
  EXPECT_TRUE(moved.empty());
  EXPECT_EQ(moved.begin(), moved.end());
}

}  // namespace
}  // namespace ropesweep
