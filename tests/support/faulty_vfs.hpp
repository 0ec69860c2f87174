// A file system for SQLite that fails when it is told to: the n-th write or synchronisation from now on.
//
//   faulty_vfs disk;                       // registered under the name faulty_vfs::name, over the default one
//   disk.fail_at(3, SQLITE_FULL, true);    // the third one, and all after it, until heal()
//   disk.fail_read_at(2);                  // the second read from now on, and no other
//
// One at a time in a process.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <cstdint>

class faulty_vfs {
 public:
  static constexpr const char* name = "faulty";

  faulty_vfs() {
    real = sqlite3_vfs_find(nullptr);
    vfs_ = *real;
    vfs_.zName = name;
    vfs_.pNext = nullptr;
    vfs_.szOsFile = static_cast<int>(sizeof(file)) + real->szOsFile;
    vfs_.xOpen = [](sqlite3_vfs*, const char* path, sqlite3_file* f, int flags, int* out) {
      auto* const opened = reinterpret_cast<file*>(f);
      opened->base.pMethods = nullptr;
      if (read_only && (flags & SQLITE_OPEN_MAIN_DB) != 0)
        flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
      const int code = real->xOpen(real, path, inner(f), flags, out);
      if (inner(f)->pMethods != nullptr) opened->base.pMethods = &methods;
      return code;
    };
    sqlite3_vfs_register(&vfs_, 0);
  }
  faulty_vfs(const faulty_vfs&) = delete;
  faulty_vfs& operator=(const faulty_vfs&) = delete;
  ~faulty_vfs() {
    heal();
    sqlite3_vfs_unregister(&vfs_);
  }

  static void fail_at(int n, int code, bool from_then_on) {
    what = code;
    stays = from_then_on;
    hits = 0;
    left = n;
  }
  static void fail_read_at(int n) { reads_left = n; }
  static void heal() {
    left = 0;
    reads_left = 0;
    read_only = false;
  }

  static inline bool read_only = false;
  static inline std::atomic<int> hits{0};  // how often it failed

 private:
  struct file {
    sqlite3_file base;
  };
  static sqlite3_file* inner(sqlite3_file* f) { return reinterpret_cast<sqlite3_file*>(reinterpret_cast<file*>(f) + 1); }
  static bool fails() {
    if (left == 0) return false;
    if (left > 1) return --left, false;
    if (!stays) left = 0;
    ++hits;
    return true;
  }
  template <auto Member, class... A>
  static int pass(sqlite3_file* f, A... a) {
    return (inner(f)->pMethods->*Member)(inner(f), a...);
  }

  using io = sqlite3_io_methods;
  static inline sqlite3_vfs* real = nullptr;
  static inline std::atomic<int> left{0};
  static inline std::atomic<int> reads_left{0};
  static inline int what = SQLITE_IOERR;
  static inline bool stays = false;
  static inline const io methods = {
      3,
      pass<&io::xClose>,
      [](sqlite3_file* f, void* data, int size, sqlite3_int64 at) {
        if (reads_left > 0 && --reads_left == 0) return SQLITE_IOERR_READ;
        return pass<&io::xRead>(f, data, size, at);
      },
      [](sqlite3_file* f, const void* data, int size, sqlite3_int64 at) {
        return fails() ? (what == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE) : pass<&io::xWrite>(f, data, size, at);
      },
      pass<&io::xTruncate, sqlite3_int64>,
      [](sqlite3_file* f, int flags) { return fails() ? SQLITE_IOERR_FSYNC : pass<&io::xSync>(f, flags); },
      pass<&io::xFileSize, sqlite3_int64*>,
      pass<&io::xLock, int>,
      pass<&io::xUnlock, int>,
      pass<&io::xCheckReservedLock, int*>,
      pass<&io::xFileControl, int, void*>,
      pass<&io::xSectorSize>,
      pass<&io::xDeviceCharacteristics>,
      pass<&io::xShmMap, int, int, int, void volatile**>,
      pass<&io::xShmLock, int, int, int>,
      [](sqlite3_file* f) { inner(f)->pMethods->xShmBarrier(inner(f)); },
      pass<&io::xShmUnmap, int>,
      pass<&io::xFetch, sqlite3_int64, int, void**>,
      pass<&io::xUnfetch, sqlite3_int64, void*>};
  sqlite3_vfs vfs_{};
};
