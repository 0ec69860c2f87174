// penstock/core/detail/blocking_help.hpp: what a thread of an execution context does while it blocks for the end of a coroutine.
//
// The coroutine may need that very thread in order to go on. So a context that owns threads (a worker pool) leaves a blocking_help on each of
// them; the wait at the bottom of sync_wait() and spawn() (root.hpp) goes through it, and the context runs what lies in its queue meanwhile.
//
//   struct my_help : blocking_help { … } here;   // on the stack of the context's thread, for as long as it is one
//
// Who begins a coroutine here and now, only to block for its end, says so (`about_to_block`): what the coroutine comes to wait for may need this thread.
//
// Thread safety  the thread's own.
#pragma once

#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/one_shot.hpp>

namespace penstock::inline v0_1::detail {

class blocking_help {
 public:
  /// Returns once `end` is set and was waited for, as a wait of any other kind: whoever set it touches it no more.
  using wait_function = void (*)(blocking_help& self, basic_one_shot<>& end) noexcept;

  explicit blocking_help(wait_function f) noexcept : wait_{f}, outer_{current_} { current_ = this; }
  blocking_help(const blocking_help&) = delete;
  blocking_help& operator=(const blocking_help&) = delete;
  ~blocking_help() { current_ = outer_; }

  /// Blocks this thread until `end` is set.
  template <class Sync>
  static void wait(basic_one_shot<Sync>& end) noexcept {
    if (current_ != nullptr) {
      current_->wait_(*current_, end);
    } else {
      wait_idly(end);
    }
  }
  /// The same, without running anything.
  template <class Sync>
  static void wait_idly(basic_one_shot<Sync>& end) noexcept {
    blocking_wait<basic_one_shot<Sync>, plain_node<Sync>>{end}.run();
  }

  class about_to_block {
   public:
    about_to_block() noexcept : before_{std::exchange(about_to_, true)} {}
    about_to_block(const about_to_block&) = delete;
    about_to_block& operator=(const about_to_block&) = delete;
    ~about_to_block() { about_to_ = before_; }

   private:
    const bool before_;
  };
  [[nodiscard]] static bool is_about_to_block() noexcept { return about_to_; }

 private:
  static inline thread_local blocking_help* current_ = nullptr;
  static inline thread_local bool about_to_ = false;
  wait_function wait_;
  blocking_help* outer_;
};

}  // namespace penstock::inline v0_1::detail
