// Boost.Asio's io_context, run by one thread, as a place where penstock's coroutines go on.
//
// However many of them are due when another thread ends a batch, the loop is woken once for all.
#pragma once

#include <mutex>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <penstock/core/scheduler.hpp>

namespace api {

class event_loop {
 public:
  [[nodiscard]] boost::asio::io_context& context() noexcept { return context_; }

  void execute(penstock::work_item& item) noexcept {
    {
      const std::scoped_lock guard{lock_};
      item.next = nullptr;
      const bool posted = last_ != nullptr;
      (posted ? last_->next : first_) = &item;
      last_ = &item;
      if (posted) return;
    }
    boost::asio::post(context_, [this] { run_due(); });  // without memory for it the program ends, as nothing could go on
  }
  [[nodiscard]] bool running_here() const noexcept { return executor_.running_in_this_thread(); }

 private:
  void run_due() {
    penstock::work_item* due = nullptr;
    {
      const std::scoped_lock guard{lock_};
      due = std::exchange(first_, nullptr);
      last_ = nullptr;
    }
    while (due != nullptr) {
      penstock::work_item& item = *due;
      due = item.next;  // first: it may be gone when it has run
      item();
    }
  }

  boost::asio::io_context context_{1};  // one thread runs it
  const boost::asio::io_context::executor_type executor_ = context_.get_executor();
  std::mutex lock_;
  penstock::work_item* first_ = nullptr;  // guarded by lock_, and so is last_
  penstock::work_item* last_ = nullptr;   // null: nothing is posted
};

}  // namespace api
