// What ends a program that works in the background: an error that waiting does not mend, such as a full disk.
#pragma once

#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

namespace command_line {

/// Any thread.
class final_failure {
 public:
  /// The first one counts: what follows is mostly its consequence.
  void tell(std::string why) {
    {
      const std::scoped_lock guard{lock_};
      if (why_.empty()) why_ = std::move(why);
    }
    told_.request_stop();
  }
  [[nodiscard]] bool was_told() const noexcept { return told_.stop_requested(); }
  [[nodiscard]] std::stop_token get_stop_token() const noexcept { return told_.get_token(); }
  /// As std::runtime_error, if there is one.
  void rethrow() const {
    const std::scoped_lock guard{lock_};
    if (!why_.empty()) throw std::runtime_error{why_};
  }

 private:
  mutable std::mutex lock_;
  std::string why_;
  std::stop_source told_;
};

}  // namespace command_line
