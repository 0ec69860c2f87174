// penstock/pool/detail/drop_scope.hpp: why tasks are dropped that this thread destroys.
//
//   drop_scope why{errc::rejected};
//   task = {};                          // its future gets errc::rejected
//   if (!why.was_begun()) ++dropped;
//
// A queued task is a callable and no more, so its destructor is what tells that it was not begun. Outside such a scope that means errc::cancelled.
//
// Thread safety  the thread's own.
#pragma once

#include <system_error>

namespace penstock::inline v0_1::detail {

class drop_scope {
 public:
  explicit drop_scope(std::error_code why) noexcept : why_{why}, outer_{innermost_} { innermost_ = this; }
  drop_scope(const drop_scope&) = delete;
  drop_scope& operator=(const drop_scope&) = delete;
  ~drop_scope() { innermost_ = outer_; }

  /// Whether what was destroyed had been begun elsewhere already, by one who waits for it: then only its shell was dropped.
  [[nodiscard]] bool was_begun() const noexcept { return begun_; }

  /// The scope that the calling thread is in, or null.
  [[nodiscard]] static drop_scope* innermost() noexcept { return innermost_; }
  [[nodiscard]] std::error_code why() const noexcept { return why_; }
  void note_begun() noexcept { begun_ = true; }
  /// Whether it had been dropped already, by a stop request to its future.
  [[nodiscard]] bool was_stopped() const noexcept { return stopped_; }
  void note_stopped() noexcept { stopped_ = true; }

 private:
  static inline thread_local drop_scope* innermost_ = nullptr;

  const std::error_code why_;
  drop_scope* const outer_;
  bool begun_ = false;
  bool stopped_ = false;
};

}  // namespace penstock::inline v0_1::detail
