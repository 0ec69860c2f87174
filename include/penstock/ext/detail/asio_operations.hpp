// penstock/ext/detail/asio_operations.hpp: what is under way between penstock and one Asio execution context, and its end when the context is destroyed first.
//
// Asio destroys a context together with the handlers of what is pending in it, uncalled. But an operation of as_asio() pends elsewhere, in the line of a
// semaphore, and a task that awaits something of the context's waits in vain. So both stand in lists of the context. Whoever takes one off its list decides its
// end:
//
//   the operation, when it ends   moves its handler out, frees its frame, and gives the handler to the executor. The context waits for those who are on
//                                 that way.
//   the context, when it ends     lets what awaits it go on without a value; then requests stop of the operations, waits until they have ended, and
//                                 destroys them with their handlers. What they await of the context itself has gone on by then.
//
// Invariants     one of either kind is in its list from its start until one of the two has taken it off, under lock_.
// Thread safety  link(), take() and unlink() may be called concurrently, and with the destruction of the context.
#pragma once

#include <memory>
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

/// In a list of a context's; guarded by the list's lock.
struct asio_node {
  asio_node* previous = nullptr;
  asio_node* following = nullptr;
  bool linked = false;
};

class asio_node_list {
 public:
  void push(asio_node& n) noexcept {
    n.previous = nullptr;
    n.following = first_;
    if (first_ != nullptr) first_->previous = &n;
    first_ = &n;
    n.linked = true;
  }
  void unlink(asio_node& n) noexcept {
    (n.previous != nullptr ? n.previous->following : first_) = n.following;
    if (n.following != nullptr) n.following->previous = n.previous;
    n.linked = false;
  }
  [[nodiscard]] asio_node* first() const noexcept { return first_; }

 private:
  asio_node* first_ = nullptr;
};

/// An operation for a handler of the context's.
struct asio_pending : asio_node {
  std::stop_source stop;                     // what ends it early
  basic_one_shot<> ended;                    // it has ended, after the context took it
  void (*destroy)(asio_pending&) = nullptr;  // frees it, with its handler
};

/// What awaits an operation of the context's.
struct asio_connected : asio_node, std::enable_shared_from_this<asio_connected> {
  /// Lets it go on without a value, unless the handler has been there.
  virtual void disconnect() noexcept = 0;

 protected:
  ~asio_connected() = default;
};

class asio_operations final : public net::execution_context::service {
 public:
  static inline net::execution_context::id id;

  explicit asio_operations(net::execution_context& context) : net::execution_context::service{context} {}

  /// False: the context is being destroyed.
  [[nodiscard]] bool link(asio_pending& op) noexcept { return link(pending_, op); }
  [[nodiscard]] bool link(asio_connected& c) noexcept { return link(connected_, c); }

  /// By an operation that ends. True: it owns its handler, and calls handed_over() when it touches nothing of the context any more. False: the
  /// context has taken it.
  [[nodiscard]] bool take(asio_pending& op) noexcept {
    const std::scoped_lock guard{lock_};
    if (!op.linked) return false;
    pending_.unlink(op);
    handing_over_.add();
    return true;
  }
  void handed_over() noexcept { handing_over_.done(); }

  void unlink(asio_connected& c) noexcept {
    const std::scoped_lock guard{lock_};
    if (c.linked) connected_.unlink(c);
  }

 private:
  [[nodiscard]] bool link(asio_node_list& list, asio_node& n) noexcept {
    const std::scoped_lock guard{lock_};
    if (!closed_) list.push(n);
    return !closed_;
  }

  void shutdown() override {
    for (;;) {
      std::shared_ptr<asio_connected> c;
      {
        const std::scoped_lock guard{lock_};
        closed_ = true;
        if (connected_.first() == nullptr) break;
        c = static_cast<asio_connected*>(connected_.first())->shared_from_this();
        connected_.unlink(*c);
      }
      c->disconnect();
    }
    for (;;) {
      asio_pending* op = nullptr;
      {
        const std::scoped_lock guard{lock_};
        op = static_cast<asio_pending*>(pending_.first());
        if (op == nullptr) break;
        pending_.unlink(*op);
      }
      // Not marked as linked, which the operation would read: only this thread knows of this list.
      op->following = std::exchange(first_taken_, op);
      request_stop(op->stop);  // it may end in here; its frame stays
    }
    while (first_taken_ != nullptr) {
      auto& op = static_cast<asio_pending&>(*first_taken_);
      first_taken_ = op.following;
      while (!op.ended.is_set() && trampoline::run_one()) {
      }
      blocking_help::wait(op.ended);
      op.destroy(op);
    }
    handing_over_.wait();
  }

  std::mutex lock_;
  asio_node_list pending_;            // guarded by lock_
  asio_node_list connected_;          // guarded by lock_
  bool closed_ = false;               // guarded by lock_
  asio_node* first_taken_ = nullptr;  // of shutdown()
  wait_group handing_over_;
};

}  // namespace penstock::inline v0_1::detail::inline PENSTOCK_DETAIL_ASIO
