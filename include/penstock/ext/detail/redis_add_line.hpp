// penstock/ext/detail/redis_add_line.hpp: jobs that many threads add at the same time travel in one call to the server.
//
// Who adds while a call is under way leaves his jobs to the next one (commit_line.hpp); alone he waits for nobody. The call is one step on the server:
// either all jobs of it are added or none, and then each of its callers has the error. Many jobs, or long ones, make calls of their own: they gain nothing
// by company, and what a server does not take for its size is nobody else's affair. A call for which the server was not there, as long as it tried or
// waited, is the last one of its group: those behind it in line have waited as long, and have its error, rather than each in turn waits again.
//
// Time           a call has the latest time of its callers, who asked within `near_by` of each other.
// Thread safety  add() may be called concurrently.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <penstock/core/result.hpp>
#include <penstock/ext/detail/commit_line.hpp>
#include <penstock/ext/redis_commands.hpp>
#include <penstock/ext/redis_errc.hpp>
#include <penstock/ext/redis_reply.hpp>

namespace penstock::inline v0_1::detail {

class redis_add_line {
 public:
  using arguments = std::vector<redis_argument>;
  using answers = std::vector<redis_reply>;
  static constexpr std::size_t header = 4;
  static constexpr std::size_t answers_each =
      3;  // of a job: its id, whether it was there already, and its place in the stream of events

  /// `records`: the arguments that stand for `count` jobs, added at `now` (ms). `call(now, count, wanted, arguments)` is the script redis_add_jobs(), and puts
  /// the first `header` of its arguments in their places; its answers of these jobs are given if they are `wanted`.
  template <class Call>
  result<answers> add(std::span<const redis_argument> records, std::size_t count, std::int64_t now, bool wanted, Call call) {
    step mine{records, count, now, wanted};
    if (travels_alone(records, count)) {
      do_some(mine, nullptr, call);
    } else {
      line_.pass(mine, [&call](commit_line::step* first) noexcept {
        for (step* from = static_cast<step*>(first); from != nullptr;) {
          step* const to = end_of_call(*from);
          do_some(*from, to, call);
          const std::error_code why = from->error;
          from = to;
          if (!was_not_executed(why) && why != redis_errc::timeout) continue;
          for (; from != nullptr; from = after(*from)) from->error = why;
        }
      });
    }
    if (mine.error) return mine.error;
    return std::move(mine.got);
  }

  /// Those who wait for the next call.
  [[nodiscard]] std::size_t size() const noexcept { return line_.size(); }

 private:
  struct step : commit_line::step {
    step(std::span<const redis_argument> r, std::size_t n, std::int64_t t, bool w) noexcept
        : records{r}, count{n}, now{t}, wanted{w} {}
    std::span<const redis_argument> records;
    std::size_t count;
    std::int64_t now;
    bool wanted;
    std::error_code error;
    answers got;
  };
  static constexpr std::size_t few = 16;  // jobs
  static constexpr std::size_t most = 512;
  static constexpr std::size_t short_bytes = 16'384;
  static constexpr std::int64_t near_by = 5;  // ms

  static step* after(const step& s) noexcept { return static_cast<step*>(static_cast<commit_line::step*>(s.after)); }
  static bool travels_alone(std::span<const redis_argument> records, std::size_t count) noexcept {
    std::size_t bytes = 0;
    for (const redis_argument& r : records) bytes += r.view().size();
    return count > few || bytes > short_bytes;
  }
  static step* end_of_call(const step& from) noexcept {
    std::size_t jobs = from.count;
    step* to = after(from);
    while (to != nullptr && (jobs += to->count) <= most && std::abs(to->now - from.now) <= near_by) to = after(*to);
    return to;
  }
  template <class Call>
  static void do_some(step& from, const step* to, Call& call) noexcept {
    const auto fail = [&](std::error_code why) {
      for (step* s = &from; s != to; s = after(*s)) s->error = why;
    };
    try {
      std::size_t count = 0;
      std::int64_t now = from.now;
      bool wanted = false;
      arguments all(header, redis_argument{std::string_view{}});
      for (step* s = &from; s != to; s = after(*s)) {
        count += s->count;
        now = std::max(now, s->now);
        wanted = wanted || s->wanted;
        all.insert(all.end(), s->records.begin(), s->records.end());
      }
      result<redis_reply> reply = call(now, count, wanted, all);
      if (!reply) return fail(reply.error());
      if (!wanted) return;
      auto next = reply->items().begin();
      if (reply->size() != answers_each * count) return fail(redis_errc::unexpected_reply);
      for (step* s = &from; s != to; s = after(*s)) {
        const auto end = next + static_cast<std::ptrdiff_t>(answers_each * s->count);
        if (s->wanted) s->got.assign(next, end);
        next = end;
      }
    } catch (const std::system_error& e) {
      fail(e.code());
    } catch (...) {
      fail(std::make_error_code(std::errc::not_enough_memory));
    }
  }

  commit_line line_;
};

}  // namespace penstock::inline v0_1::detail
