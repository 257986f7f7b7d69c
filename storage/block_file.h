// A file that is written in any order and read back meanwhile, through a bounded number of blocks
// in memory. A file that fits into them reaches the disk at its end only, in few writes.
//
// For a writer that must not meet a failing disk half-way (HDF5: it could not close its file): the
// first write that fails is kept for check(), and what follows stays in memory. Whoever lets much
// be written asks check() now and then, so that this memory stays small.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "experiments/owned_descriptor.h"

namespace ropesweep {

class BlockFile {
 public:
  static constexpr size_t kBlockBytes = size_t{512} << 10;
  static constexpr size_t kMostBlocks = 64;

  /// `file`: empty, open for reading and writing, outlives this. `path` is named in errors.
  BlockFile(const OwnedDescriptor& file, std::filesystem::path path);

  /// False when it can't be done: out of memory, or the disk does not give back what it took.
  bool write(uint64_t offset, std::span<const uint8_t> bytes) noexcept;
  /// What was never written is 0. False as of write().
  bool read(uint64_t offset, std::span<uint8_t> bytes) noexcept;

  /// Throws what failed first, if anything did: transient, naming the file.
  void check() const;

  /// CRC-32 of the first `length` bytes. Errors: as check().
  uint32_t crc(uint64_t length);

  /// Puts all on the disk (not synced); the file is `length` bytes long then. Errors: as check().
  void finish(uint64_t length);

 private:
  struct Block {
    std::vector<uint8_t> bytes;
    uint64_t used = 0;  ///< the higher, the later
    bool dirty = false;
  };
  /// A block as the disk has it: nothing is read back for its checksum.
  struct Stored {
    bool there = false;
    uint32_t crc = 0;
  };

  template <typename Work>
  bool attempt(const Work& work) noexcept;
  Block& block(uint64_t index);
  Block& take_over_oldest(uint64_t index);
  void store(uint64_t index, Block& block, size_t count);
  Stored& stored(uint64_t index);

  const OwnedDescriptor& file_;
  std::filesystem::path path_;
  std::map<uint64_t, Block> blocks_;
  std::vector<Stored> stored_;
  uint64_t clock_ = 0;
  uint64_t disk_end_ = 0;  ///< length of the file on the disk
  std::exception_ptr failure_;
};

}  // namespace ropesweep
