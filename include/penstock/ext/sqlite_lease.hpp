// penstock/ext/sqlite_lease.hpp: the right to run a job of a sqlite_store, and what its holder may read. See job_lease.
//
// Thread safety  belongs to one thread at a time. It outlives the store, and the job.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include <penstock/ext/detail/sqlite_row.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1 {

namespace detail {
template <class Payload>
class sqlite_payloads;
}  // namespace detail

template <class Payload>
class sqlite_lease {
 public:
  using payload_type = Payload;

  [[nodiscard]] job_id id() const noexcept { return job_id{of_.number, of_.job_id}; }
  [[nodiscard]] std::uint64_t fence() const noexcept { return of_.fence; }
  [[nodiscard]] unsigned attempt() const noexcept { return of_.attempt; }
  [[nodiscard]] job_time due_since() const noexcept { return of_.due_since; }
  [[nodiscard]] const job_policy& policy() const noexcept { return of_.policy; }
  [[nodiscard]] const Payload& payload() const noexcept { return payload_; }
  [[nodiscard]] std::string_view name() const noexcept { return of_.name; }

 private:
  friend detail::sqlite_payloads<Payload>;
  sqlite_lease(detail::sqlite_fetched&& of, Payload&& payload) noexcept : of_{std::move(of)}, payload_(std::move(payload)) {}

  detail::sqlite_fetched of_;  // without the payload's text
  Payload payload_;
};

}  // namespace penstock::inline v0_1
