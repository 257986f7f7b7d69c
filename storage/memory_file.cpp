// HDF5's core driver with our own memory, which is kept when the file closes.
#include "storage/memory_file.h"

#include <cstdlib>
#include <cstring>

namespace ropesweep {
namespace {

/// What the core driver writes into; outlives the file.
struct Memory {
  void* bytes = nullptr;
  ~Memory() { std::free(bytes); }
};

void* allocate(size_t size, H5FD_file_image_op_t, void*) { return std::malloc(size); }

void* copy(void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
  return std::memcpy(to, from, size);
}

void* resize(void* bytes, size_t size, H5FD_file_image_op_t, void* memory) {
  void* resized = std::realloc(bytes, size);
  if (resized != nullptr) static_cast<Memory*>(memory)->bytes = resized;
  return resized;
}

herr_t keep(void* bytes, H5FD_file_image_op_t, void* memory) {
  if (static_cast<Memory*>(memory)->bytes != bytes) std::free(bytes);
  return 0;
}

// Every property list that is copied shares the one Memory.
void* share(void* memory) { return memory; }
herr_t forget(void*) { return 0; }

Hdf5File create(Memory& memory) {
  constexpr size_t kGrowth = size_t{4} << 20;
  const Hdf5Properties access(H5Pcreate(H5P_FILE_ACCESS), "prepare a file");
  hdf5_check(H5Pset_fapl_core(access, kGrowth, /*backing_store=*/0), "prepare a file");
  H5FD_file_image_callbacks_t callbacks = {allocate, copy, resize, keep, share, forget, &memory};
  hdf5_check(H5Pset_file_image_callbacks(access, &callbacks), "prepare a file");
  // Compact groups and headers, readable since HDF5 1.8: curves of many fine-tunes are small and
  // many.
  hdf5_check(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "prepare a file");
  return Hdf5File(H5Fcreate("memory", H5F_ACC_TRUNC, H5P_DEFAULT, access), "create a file");
}

}  // namespace

std::vector<uint8_t> hdf5_file_in_memory(const std::function<void(hid_t file)>& fill) {
  Memory memory;
  size_t size = 0;
  {
    const Hdf5File file = create(memory);
    fill(file);
    hdf5_check(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush a file");
    const ssize_t used = H5Fget_file_image(file, nullptr, 0);  // without the driver's spare room
    if (used <= 0) throw_transient_error("HDF5 cannot tell the file's size");
    size = static_cast<size_t>(used);
  }
  const auto* bytes = static_cast<const uint8_t*>(memory.bytes);
  return {bytes, bytes + size};
}

}  // namespace ropesweep
