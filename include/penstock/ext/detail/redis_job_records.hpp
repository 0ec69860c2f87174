// penstock/ext/detail/redis_job_records.hpp: jobs that are to be added, as arguments of redis_store's scripts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <system_error>
#include <vector>

#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/redis_commands.hpp>
#include <penstock/ext/redis_store_options.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>

namespace penstock::inline v0_1::detail {

/// Why it cannot be added; no error: it can.
template <class Payload>
[[nodiscard]] std::error_code redis_refusal(const job_entry<Payload>& e) noexcept {
  return e.parent == job_entry<Payload>::no_entry ? redis_refusal(*e.options) : redis_store_errc::no_families;
}

/// Appends it as redis_job_add reads it. `texts` owns what the arguments refer to besides. Throws std::invalid_argument, and what encoding throws.
template <class Payload>
void put_redis_job(const job_entry<Payload>& e, job_time now, std::vector<redis_argument>& a, std::deque<std::string>& texts) {
  const enqueue_options& o = *e.options;
  check(o);
  check_redis_id(o.job_id);
  static const std::string unnamed = "__default__";
  a.push_back(o.name.empty() ? unnamed : o.name);
  a.push_back(texts.emplace_back(job_codec<Payload>::encode(*e.payload)));
  a.push_back(texts.emplace_back(redis_opts(o)));
  if (o.delay.count() == 0 && o.priority == 0 && !o.lifo && o.job_id.empty() && !o.deduplicate) {
    a.push_back("0");
    return;
  }
  const std::int64_t due = to_redis_ms_up(job_time{saturating_add(now.count(), o.delay.count())});
  const std::int64_t delay = o.delay.count() == 0 ? 0 : std::max<std::int64_t>(due - to_redis_ms(now), 1);
  a.insert(a.end(), {"1", o.job_id, delay, o.priority, o.lifo ? "1" : "0"});
  if (o.deduplicate) {
    const deduplication& d = *o.deduplicate;
    a.push_back(d.id);
    a.push_back(d.ttl.count() == 0 ? 0 : std::max<std::int64_t>(to_redis_ms_up(d.ttl), 1));
    a.push_back(d.extend ? (d.replace ? "b" : "e") : (d.replace ? "r" : "n"));
  } else {
    a.insert(a.end(), {"", "0", "n"});
  }
}

}  // namespace penstock::inline v0_1::detail
