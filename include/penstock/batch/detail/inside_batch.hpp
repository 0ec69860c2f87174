// penstock/batch/detail/inside_batch.hpp: who works on a batch now.
#pragma once

namespace penstock::inline v0_1::detail {

/// Says, while it lives, that this thread works on a batch of a batcher.
class inside_batch {
 public:
  explicit inside_batch(const void* of) noexcept : of_{of}, outer_{current_} { current_ = this; }
  inside_batch(const inside_batch&) = delete;
  inside_batch& operator=(const inside_batch&) = delete;
  ~inside_batch() { current_ = outer_; }
  /// The innermost batch of that batcher; null: none.
  [[nodiscard]] static const inside_batch* of(const void* core) noexcept {
    const inside_batch* i = current_;
    while (i != nullptr && i->of_ != core) i = i->outer_;
    return i;
  }

 private:
  static inline thread_local const inside_batch* current_ = nullptr;
  const void* of_;
  const inside_batch* outer_;
};

}  // namespace penstock::inline v0_1::detail
