// penstock/ext/sqlite_error.hpp: what SQLite says when something does not go.
//
//   if (auto added = mails.add(letter); !added && added.error() == penstock::sqlite_errc::full)   // the disk, or the file's limit: nothing was added
//     std::cerr << added.error().message();                                                       // "database or disk is full"
//
// An error_code's value is SQLite's extended result code, and its text SQLite's. One compares with a sqlite_errc, which is a class of codes, or with
// a std::errc where one means the same. What a store reports so has not happened, and may be asked for again when the cause is gone.
//
// Thread safety  values.
#pragma once

#include <sqlite3.h>

#include <string>
#include <system_error>
#include <type_traits>

namespace penstock::inline v0_1 {

/// An error condition: `error == sqlite_errc::busy`.
enum class sqlite_errc : int {
  error = SQLITE_ERROR,
  permission = SQLITE_PERM,
  busy = SQLITE_BUSY,  ///< another process held the file for longer than the busy_timeout
  locked = SQLITE_LOCKED,
  out_of_memory = SQLITE_NOMEM,
  read_only = SQLITE_READONLY,  ///< the file, or its folder
  input_output = SQLITE_IOERR,
  corrupt = SQLITE_CORRUPT,
  full = SQLITE_FULL,  ///< the disk, or sqlite_store_options::max_bytes
  cannot_open = SQLITE_CANTOPEN,
  too_big = SQLITE_TOOBIG,  ///< a payload or text of more than a gigabyte
  no_database = SQLITE_NOTADB,
  // Our own.
  other_file = 1001,     ///< a database that is no store of jobs
  newer_version = 1002,  ///< made by a later penstock
  no_wal = 1003,         ///< it cannot have a write-ahead log: it is no file, or lies where memory cannot be shared
};

namespace detail {

class sqlite_category final : public std::error_category {
 public:
  constexpr sqlite_category() noexcept = default;
  [[nodiscard]] const char* name() const noexcept override { return "sqlite"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<sqlite_errc>(value)) {
      case sqlite_errc::other_file:
        return "the file is a database, but no store of jobs";
      case sqlite_errc::newer_version:
        return "the file was made by a later version of penstock";
      case sqlite_errc::no_wal:
        return "the file cannot have a write-ahead log";
      default:
        return sqlite3_errstr(value);
    }
  }
  /// The class that an extended code belongs to.
  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    return {value >= static_cast<int>(sqlite_errc::other_file) && value <= static_cast<int>(sqlite_errc::no_wal) ? value
                                                                                                                 : value & 0xff,
            *this};
  }
  [[nodiscard]] bool equivalent(int code, const std::error_condition& condition) const noexcept override {
    const std::error_condition own = default_error_condition(code);
    if (own == condition) return true;
    switch (static_cast<sqlite_errc>(own.value())) {
      case sqlite_errc::permission:
        return condition == std::errc::permission_denied;
      case sqlite_errc::busy:
      case sqlite_errc::locked:
        return condition == std::errc::device_or_resource_busy;
      case sqlite_errc::out_of_memory:
        return condition == std::errc::not_enough_memory;
      case sqlite_errc::read_only:
        return condition == std::errc::read_only_file_system;
      case sqlite_errc::input_output:
        return condition == std::errc::io_error;
      case sqlite_errc::full:
        return condition == std::errc::no_space_on_device;
      default:
        return false;
    }
  }
};

// A union, so that it is never destroyed: a late destructor may still ask for the text of an error.
union immortal_sqlite_category {
  constexpr immortal_sqlite_category() noexcept : category{} {}
  ~immortal_sqlite_category() {}
  sqlite_category category;
};
inline constinit const immortal_sqlite_category the_sqlite_category{};

}  // namespace detail

/// "sqlite"
[[nodiscard]] inline const std::error_category& sqlite_error_category() noexcept { return detail::the_sqlite_category.category; }
[[nodiscard]] inline std::error_condition make_error_condition(sqlite_errc e) noexcept {
  return {static_cast<int>(e), sqlite_error_category()};
}

}  // namespace penstock::inline v0_1

template <>
struct std::is_error_condition_enum<penstock::sqlite_errc> : std::true_type {};
