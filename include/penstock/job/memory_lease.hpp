// penstock/job/memory_lease.hpp: the right to run a job of a memory_store, and what its holder may read.
//
// Thread safety  belongs to one thread at a time. Lifetime  ends before its store.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <penstock/job/detail/job_node.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

template <class Payload>
class memory_store;
namespace detail {
template <class Payload>
class memory_steps;
}  // namespace detail

/// See job_lease. A lease that is dropped unsettled leaves its job active until it runs out.
template <class Payload>
class memory_lease {
  using node = detail::job_node<Payload>;

 public:
  using payload_type = Payload;

  memory_lease(memory_lease&& other) noexcept
      : store_{other.store_},
        node_{std::exchange(other.node_, nullptr)},
        number_{other.number_},
        fence_{other.fence_},
        attempt_{other.attempt_},
        due_since_{other.due_since_} {}
  memory_lease& operator=(memory_lease&& other) noexcept {
    memory_lease gone{std::move(*this)};
    store_ = other.store_;
    node_ = std::exchange(other.node_, nullptr);
    number_ = other.number_;
    fence_ = other.fence_;
    attempt_ = other.attempt_;
    due_since_ = other.due_since_;
    return *this;
  }
  ~memory_lease() {
    if (node_ != nullptr) store_->drop(*this);
  }

  [[nodiscard]] job_id id() const noexcept {
    return job_id{number_, node_ != nullptr && node_->extras != nullptr ? node_->extras->name : nullptr};
  }
  [[nodiscard]] std::uint64_t fence() const noexcept { return fence_; }
  [[nodiscard]] unsigned attempt() const noexcept { return attempt_; }
  [[nodiscard]] job_time due_since() const noexcept { return due_since_; }

  // Precondition, of these: it was not settled.
  [[nodiscard]] const job_policy& policy() const noexcept {
    static constexpr job_policy usual{};
    return node_->extras != nullptr ? node_->extras->policy : usual;
  }
  [[nodiscard]] const Payload& payload() const noexcept { return node_->payload; }
  /// enqueue_options::name
  [[nodiscard]] std::string_view name() const noexcept {
    if (node_->extras == nullptr || node_->extras->kind == nullptr) return {};
    return *node_->extras->kind;
  }

  /// In which context the job was added, if somebody traced then.
  [[nodiscard]] trace_context trace() const noexcept { return node_->extras != nullptr ? node_->extras->trace : trace_context{}; }

 private:
  friend memory_store<Payload>;
  friend detail::memory_steps<Payload>;
  memory_lease(detail::memory_steps<Payload>& store, node& n) noexcept
      : store_{&store},
        node_{&n},
        number_{n.number()},
        fence_{n.fence},
        attempt_{n.attempts_made + 1},
        due_since_{n.due_since()} {}

  detail::memory_steps<Payload>* store_;
  node* node_;  // pinned; null: it was settled
  std::uint64_t number_;
  std::uint64_t fence_;
  unsigned attempt_;
  job_time due_since_;
};

}  // namespace penstock::inline v0_1
