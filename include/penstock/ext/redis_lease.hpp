// penstock/ext/redis_lease.hpp: the right to run a job of a redis_store, and what its holder may read.
//
// Thread safety  belongs to one thread at a time. Lifetime  as long as one likes: it is a value.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class redis_store;

/// See job_lease. One that is dropped unsettled leaves its job active until the lock runs out and somebody has looked twice.
template <class Payload>
class redis_lease {
 public:
  using payload_type = Payload;

  [[nodiscard]] job_id id() const noexcept { return id_; }
  [[nodiscard]] std::uint64_t fence() const noexcept { return fence_; }
  [[nodiscard]] unsigned attempt() const noexcept { return attempt_; }
  /// Known of the first run, in whole milliseconds: BullMQ does not keep when a further one became due.
  [[nodiscard]] job_time due_since() const noexcept { return due_since_; }
  [[nodiscard]] const job_policy& policy() const noexcept {
    static const job_policy usual{};
    return options_ != nullptr ? options_->policy : usual;
  }
  [[nodiscard]] const Payload& payload() const noexcept { return *payload_; }
  [[nodiscard]] std::string_view name() const noexcept { return name_; }

 private:
  friend redis_store<Payload>;
  redis_lease() = default;

  std::optional<Payload> payload_;  // none only until the store has settled what it cannot read
  job_id id_;
  std::string key_;  // the id as text
  std::string name_;
  std::string guard_;                                         // deduplication's id
  std::shared_ptr<const detail::redis_job_options> options_;  // null: the usual ones
  std::uint64_t fence_ = 0;
  unsigned attempt_ = 1;
  job_time due_since_ = no_time;
};

}  // namespace penstock::inline v0_1
