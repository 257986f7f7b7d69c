// The driver's callbacks, and the file that is made with it.
#include "storage/block_file_driver.h"

#if __has_include(<H5FDdevelop.h>)  // since HDF5 1.13
#include <H5FDdevelop.h>
#endif

#include <algorithm>
#include <iterator>
#include <memory>

namespace ropesweep {
namespace {

/// What HDF5 is given with the driver; outlives the file.
struct Target {
  BlockFile* blocks = nullptr;
  haddr_t length = 0;  ///< as the file had it when it was closed
};

/// HDF5 hands it around as its base.
struct DriverFile : H5FD_t {
  explicit DriverFile(Target* to) : H5FD_t{}, target(to) {}
  Target* target;
  haddr_t allocated = 0, written = 0;  ///< ends, in HDF5's terms EOA and EOF
};

DriverFile* own(H5FD_t* file) { return static_cast<DriverFile*>(file); }
const DriverFile* own(const H5FD_t* file) { return static_cast<const DriverFile*>(file); }

H5FD_t* open(const char*, unsigned flags, hid_t access, haddr_t) {
  if ((flags & H5F_ACC_TRUNC) == 0) return nullptr;  // HDF5 tries whether there is a file
  const auto* info = static_cast<Target* const*>(H5Pget_driver_info(access));
  return info == nullptr ? nullptr : std::make_unique<DriverFile>(*info).release();
}

herr_t close(H5FD_t* file) {
  const std::unique_ptr<DriverFile> closed(own(file));
  closed->target->length = closed->allocated;
  return 0;
}

herr_t query(const H5FD_t*, unsigned long* features) {
  *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
              H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t) { return own(file)->allocated; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t end) {
  own(file)->allocated = end;
  return 0;
}

haddr_t get_written(const H5FD_t* file, H5FD_mem_t) { return own(file)->written; }

herr_t read(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t size, void* bytes) {
  const bool done = own(file)->target->blocks->read(offset, {static_cast<uint8_t*>(bytes), size});
  return done ? 0 : -1;
}

herr_t write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t offset, size_t size, const void* bytes) {
  DriverFile& to = *own(file);
  if (!to.target->blocks->write(offset, {static_cast<const uint8_t*>(bytes), size})) return -1;
  to.written = std::max(to.written, offset + size);
  return 0;
}

herr_t truncate(H5FD_t* file, hid_t, hbool_t) {
  own(file)->written = own(file)->allocated;
  return 0;
}

H5FD_class_t driver_class() {
  H5FD_class_t driver{};
#ifdef H5FD_CLASS_VERSION
  driver.version = H5FD_CLASS_VERSION;
  driver.value = static_cast<H5FD_class_value_t>(400);  // 256 to 511 are nobody's
#endif
  driver.name = "ropesweep_blocks";
  driver.maxaddr = haddr_t{1} << 62;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(Target*);
  driver.open = open;
  driver.close = close;
  driver.query = query;
  driver.get_eoa = get_allocated;
  driver.set_eoa = set_allocated;
  driver.get_eof = get_written;
  driver.read = read;
  driver.write = write;
  driver.truncate = truncate;
  const H5FD_mem_t kinds[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kinds), std::end(kinds), std::begin(driver.fl_map));
  return driver;
}

Hdf5File create(hid_t driver, Target* target) {
  const Hdf5Properties access(H5Pcreate(H5P_FILE_ACCESS), "prepare a file");
  hdf5_check(H5Pset_driver(access, driver, &target), "prepare a file");
  // Compact groups and headers, readable since HDF5 1.8: curves of many fine-tunes are small and
  // many.
  hdf5_check(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "prepare a file");
  return Hdf5File(H5Fcreate("blocks", H5F_ACC_TRUNC, H5P_DEFAULT, access), "create a file");
}

}  // namespace

uint64_t make_hdf5_file(BlockFile& blocks, const std::function<void(hid_t file)>& fill) {
  Target target{&blocks};
  try {
    const H5FD_class_t description = driver_class();
    const Hdf5Handle<H5FDunregister> driver(H5FDregister(&description), "register a driver");
    const Hdf5File file = create(driver, &target);
    fill(file);
    hdf5_check(H5Fflush(file, H5F_SCOPE_GLOBAL), "flush a file");
  } catch (...) {
    blocks.check();  // what the disk says is the cause of what HDF5 says
    throw;
  }
  blocks.check();
  return target.length;
}

}  // namespace ropesweep
