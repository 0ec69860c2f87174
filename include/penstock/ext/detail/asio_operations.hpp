// penstock/ext/detail/asio_operations.hpp: the operations that are under way for handlers of one Asio execution context, and their end when the context is
// destroyed first.
//
// Asio destroys a context together with the handlers of what is pending in it, uncalled. An operation of penstock pends elsewhere, in the line of a
// semaphore; so it stands in a list of the context, too. Whoever takes it off that list owns its handler:
//
//   the operation, when it ends   moves the handler out, frees its frame, and gives the handler to the executor. The context waits for
//                                 those who are on that way.
//   the context, when it ends     requests stop, waits until the operation has ended, and destroys it with its handler.
//
// Invariants     an operation is in the list from its start until one of the two has taken it off, under lock_.
// Thread safety  link() and take() may be called concurrently, and with the destruction of the context.
#pragma once

#include <cassert>
#include <mutex>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/blocking_help.hpp>
#include <penstock/core/detail/one_shot.hpp>
#include <penstock/core/detail/request_stop.hpp>
#include <penstock/core/detail/work_item.hpp>
#include <penstock/ext/detail/asio_library.hpp>
#include <penstock/sync/wait_group.hpp>

namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO {

/// One that is under way.
struct asio_pending {
  asio_pending* previous = nullptr;
  asio_pending* next_pending = nullptr;
  bool linked = false;                       // guarded by the list's lock
  std::stop_source stop;                     // what ends it early
  basic_one_shot<> ended;                    // it has ended, after the context took it
  void (*destroy)(asio_pending&) = nullptr;  // frees it, with its handler
};

class asio_operations final : public net::execution_context::service {
 public:
  static inline net::execution_context::id id;

  explicit asio_operations(net::execution_context& context) : net::execution_context::service{context} {}

  /// False: the context is being destroyed.
  [[nodiscard]] bool link(asio_pending& op) noexcept {
    const std::scoped_lock guard{lock_};
    if (closed_) return false;
    op.next_pending = std::exchange(first_, &op);
    if (op.next_pending != nullptr) op.next_pending->previous = &op;
    op.linked = true;
    return true;
  }

  /// By an operation that ends. True: it owns its handler, and calls handed_over() when it touches nothing of the context any more. False: the
  /// context has taken it.
  [[nodiscard]] bool take(asio_pending& op) noexcept {
    const std::scoped_lock guard{lock_};
    if (!op.linked) return false;
    unlink(op);
    handing_over_.add();
    return true;
  }
  void handed_over() noexcept { handing_over_.done(); }

 private:
  void unlink(asio_pending& op) noexcept {
    (op.previous != nullptr ? op.previous->next_pending : first_) = op.next_pending;
    if (op.next_pending != nullptr) op.next_pending->previous = op.previous;
    op.linked = false;
  }

  void shutdown() override {
    for (;;) {
      asio_pending* op = nullptr;
      {
        const std::scoped_lock guard{lock_};
        closed_ = true;
        op = first_;
        if (op == nullptr) break;
        unlink(*op);
      }
      request_stop(op->stop);  // it may end in here; its frame stays
      while (!op->ended.is_set() && trampoline::run_one()) {
      }
      blocking_help::wait(op->ended);
      op->destroy(*op);
    }
    handing_over_.wait();
  }

  std::mutex lock_;
  asio_pending* first_ = nullptr;  // guarded by lock_
  bool closed_ = false;            // guarded by lock_
  wait_group handing_over_;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
