// penstock/channel/detail/watch_value.hpp: a value that does not change, and is destroyed by the last who holds it.
//
// What std::shared_ptr<T> would be, with the count where the model checker sees it.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

#include <penstock/core/detail/sync.hpp>

namespace penstock::inline v0_1::detail {

template <class T, class Sync>
class watch_handle {
 public:
  struct box {
    template <class U>
    explicit box(U&& v) : value(std::forward<U>(v)) {}
    T value;
    typename Sync::template atomic<std::size_t> holders{1};
  };

  template <class U>
  static watch_handle make(U&& value) {
    return watch_handle{new box(std::forward<U>(value))};
  }
  watch_handle(const watch_handle& other) noexcept : box_{other.box_} {
    box_->holders.fetch_add(1, std::memory_order_relaxed);  // relaxed: who copies a handle has one already
  }
  watch_handle(watch_handle&& other) noexcept : box_{std::exchange(other.box_, nullptr)} {}
  watch_handle& operator=(const watch_handle&) = delete;
  ~watch_handle() {
    // release: my reading comes before its destruction. acquire: if I destroy it, so does the others'.
    if (box_ != nullptr && box_->holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete box_;
  }

  void swap(watch_handle& other) noexcept { std::swap(box_, other.box_); }
  box* get() const noexcept { return box_; }
  box* operator->() const noexcept { return box_; }

 private:
  explicit watch_handle(box* b) noexcept : box_{b} {}
  box* box_;
};

}  // namespace penstock::inline v0_1::detail
