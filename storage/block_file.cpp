// The blocks: which are in memory, which on the disk.
#include "storage/block_file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "experiments/output_file.h"
#include "storage/posix_file.h"

namespace ropesweep {
namespace {

constexpr uint64_t kBlock = BlockFile::kBlockBytes;

/// Calls visit(block, offset in it, position in the range, count) for each piece of a range.
template <typename Visitor>
void for_each_piece(uint64_t offset, size_t bytes, const Visitor& visit) {
  for (size_t position = 0; position < bytes;) {
    const size_t within = static_cast<size_t>((offset + position) % kBlock);
    const size_t count = std::min(bytes - position, BlockFile::kBlockBytes - within);
    visit((offset + position) / kBlock, within, position, count);
    position += count;
  }
}

bool is_zero(const std::vector<uint8_t>& bytes) {
  return bytes.front() == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

uint32_t crc_of(std::span<const uint8_t> bytes) {
  return static_cast<uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
}

}  // namespace

BlockFile::BlockFile(const OwnedDescriptor& file, std::filesystem::path path)
    : file_(file), path_(std::move(path)) {}

/// False when `work` throws; kept is what was thrown first.
template <typename Work>
bool BlockFile::attempt(const Work& work) noexcept {
  try {
    work();
    return true;
  } catch (...) {
    if (!failure_) failure_ = std::current_exception();
    return false;
  }
}

bool BlockFile::write(uint64_t offset, std::span<const uint8_t> bytes) noexcept {
  return attempt([&] {
    for_each_piece(offset, bytes.size(),
                   [&](uint64_t index, size_t within, size_t position, size_t count) {
                     Block& to = block(index);
                     std::memcpy(to.bytes.data() + within, bytes.data() + position, count);
                     to.dirty = true;
                   });
  });
}

bool BlockFile::read(uint64_t offset, std::span<uint8_t> bytes) noexcept {
  return attempt([&] {
    for_each_piece(offset, bytes.size(),
                   [&](uint64_t index, size_t within, size_t position, size_t count) {
                     const Block& from = block(index);
                     std::memcpy(bytes.data() + position, from.bytes.data() + within, count);
                   });
  });
}

void BlockFile::check() const {
  if (failure_) std::rethrow_exception(failure_);
}

uint32_t BlockFile::crc(uint64_t length) {
  check();
  uLong crc = 0;
  for (uint64_t index = 0; index * kBlock < length; ++index) {
    const size_t count = static_cast<size_t>(std::min(kBlock, length - index * kBlock));
    const bool as_stored = !blocks_.contains(index) && stored(index).there && count == kBlock;
    const uint32_t own =
        as_stored ? stored(index).crc : crc_of(std::span(block(index).bytes).first(count));
    crc = crc32_combine(crc, own, static_cast<z_off_t>(count));
  }
  check();
  return static_cast<uint32_t>(crc);
}

void BlockFile::finish(uint64_t length) {
  check();
  for (auto& [index, block] : blocks_) {
    if (index * kBlock >= length) break;
    store(index, block, static_cast<size_t>(std::min(kBlock, length - index * kBlock)));
  }
  if (disk_end_ != length) resize_file(file_, static_cast<int64_t>(length), path_);
}

BlockFile::Block& BlockFile::block(uint64_t index) {
  const auto found = blocks_.find(index);
  Block& block = found != blocks_.end() ? found->second : take_over_oldest(index);
  block.used = ++clock_;
  return block;
}

/// A block that is not in memory yet, as the disk has it, in place of the one that was not used for
/// longest.
BlockFile::Block& BlockFile::take_over_oldest(uint64_t index) {
  std::map<uint64_t, Block>::node_type node;
  if (blocks_.size() >= kMostBlocks && !failure_) {
    const auto oldest =
        std::ranges::min_element(blocks_, {}, [](const auto& entry) { return entry.second.used; });
    if (attempt([&] { store(oldest->first, oldest->second, kBlockBytes); })) {
      node = blocks_.extract(oldest);
    }
  }
  Block fresh;
  if (!node.empty()) fresh.bytes = std::move(node.mapped().bytes);
  fresh.bytes.assign(kBlockBytes, 0);
  if (stored(index).there) {
    const size_t count = read_at(file_, static_cast<int64_t>(index * kBlock), fresh.bytes, path_);
    if (count < kBlockBytes) throw_file_error(path_, "be read back", EIO);  // cut by someone
  }
  return blocks_.emplace(index, std::move(fresh)).first->second;
}

void BlockFile::store(uint64_t index, Block& block, size_t count) {
  if (!block.dirty) return;
  Stored& known = stored(index);
  // A dataset begins as zeros, to be overwritten: a hole of the file reads as them.
  if (known.there || !is_zero(block.bytes)) {
    const std::span bytes = std::span(block.bytes).first(count);
    write_at(file_, static_cast<int64_t>(index * kBlock), bytes, path_);
    known = {true, crc_of(bytes)};
    disk_end_ = std::max(disk_end_, index * kBlock + count);
  }
  block.dirty = false;
}

BlockFile::Stored& BlockFile::stored(uint64_t index) {
  if (index >= stored_.size()) stored_.resize(index + 1);
  return stored_[index];
}

}  // namespace ropesweep
