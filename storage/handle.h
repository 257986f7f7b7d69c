// HDF5 ids that close themselves, and calls that throw.
#pragma once

#include <hdf5.h>

#include <string>
#include <utility>

#include "experiments/error.h"

namespace ropesweep {

/// Owns one HDF5 id and closes it with CLOSE.
template <herr_t (*CLOSE)(hid_t)>
class Hdf5Handle {
 public:
  /// `what` is named in the error when HDF5 refused to give an id.
  Hdf5Handle(hid_t id, const std::string& what) : id_(id) {
    if (id_ < 0) throw_transient_error("HDF5 cannot {}", what);
  }
  Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Hdf5Handle(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(const Hdf5Handle&) = delete;
  Hdf5Handle& operator=(Hdf5Handle&&) = delete;
  ~Hdf5Handle() {
    if (id_ >= 0) CLOSE(id_);
  }
  operator hid_t() const { return id_; }  // NOLINT: passes as the id it owns

 private:
  hid_t id_;
};

using Hdf5File = Hdf5Handle<H5Fclose>;
using Hdf5Group = Hdf5Handle<H5Gclose>;
using Hdf5Dataset = Hdf5Handle<H5Dclose>;
using Hdf5Space = Hdf5Handle<H5Sclose>;
using Hdf5Type = Hdf5Handle<H5Tclose>;
using Hdf5Attribute = Hdf5Handle<H5Aclose>;
using Hdf5Properties = Hdf5Handle<H5Pclose>;

/// Throws when an HDF5 call failed.
inline void hdf5_check(herr_t status, const std::string& what) {
  if (status < 0) throw_transient_error("HDF5 cannot {}", what);
}

/// HDF5's own error stack is not printed while one lives: our errors say what failed.
class Hdf5Quiet {
 public:
  Hdf5Quiet() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Hdf5Quiet() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  Hdf5Quiet(const Hdf5Quiet&) = delete;
  Hdf5Quiet& operator=(const Hdf5Quiet&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Variable-length UTF-8 text.
inline Hdf5Type hdf5_text_type() {
  Hdf5Type type(H5Tcopy(H5T_C_S1), "make a text type");
  hdf5_check(H5Tset_size(type, H5T_VARIABLE), "make a text type");
  hdf5_check(H5Tset_cset(type, H5T_CSET_UTF8), "make a text type");
  return type;
}

}  // namespace ropesweep
