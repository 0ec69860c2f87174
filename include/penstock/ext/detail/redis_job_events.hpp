// penstock/ext/detail/redis_job_events.hpp: what happens on a queue, whoever does it: BullMQ's stream of events, read by a thread.
//
// Started by the first one who wants to know. Watches are kept by the text of the id. The end of a job may be read before the reply that names the
// job has come: while somebody is about to watch, ends are remembered. The stream is cut by the server (to 10,000 events or so), and connections get
// lost: therefore jobs that are watched are also looked at now and then, some each second.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/core/deadline.hpp>
#include <penstock/core/detail/dependent.hpp>
#include <penstock/core/move_only_function.hpp>
#include <penstock/ext/detail/redis_job_text.hpp>
#include <penstock/ext/redis_connection.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_store.hpp>
#include <penstock/sync/event.hpp>

namespace penstock::inline v0_1::detail {

template <class Sync = std_sync>
class basic_redis_job_events {
  // Containers of these are compiled by who uses this.
  using text_type = dependent<std::string, Sync>;
  using event_type = dependent<job_event, Sync>;
  using number_type = dependent<std::uint64_t, Sync>;

 public:
  /// Of a job: how it ended, and what it gave or why; nothing if it is not over; job_state::waiting if it is gone.
  using look_up = move_only_function<std::optional<std::pair<job_state, job_text>>(const text_type& id)>;

  /// `tell` and `look` are called on the thread of this, and do not throw but for want of memory.
  basic_redis_job_events(redis_options options, std::string stream, move_only_function<void(std::span<const event_type>)> tell,
                         look_up look)
      : connection_{std::move(options)}, stream_{std::move(stream)}, tell_{std::move(tell)}, look_{std::move(look)} {}
  basic_redis_job_events(const basic_redis_job_events&) = delete;
  basic_redis_job_events& operator=(const basic_redis_job_events&) = delete;
  ~basic_redis_job_events() { stop(); }

  /// Ends the thread, and tells all watches that nobody looks any more.
  void stop() noexcept {
    if (thread_.joinable()) {
      thread_.request_stop();
      connection_.interrupt();
      thread_.join();
    }
    std::multimap<text_type, watcher> left;
    {
      std::scoped_lock guard{lock_};
      left.swap(watches_);
    }
    for (const auto& [id, w] : left) w.watch->over(job_state::waiting, nullptr);
  }

  /// What happens after it is told. Throws std::system_error if the thread cannot be started.
  result<void> start() {
    std::scoped_lock guard{starting_};
    if (thread_.joinable()) return {};
    const auto last = connection_.command("XREVRANGE", stream_, "+", "-", "COUNT", 1);
    if (!last) return last.error();
    if (last->size() != 0) last_ = (*last)[0][0].text();
    thread_ = std::jthread{[this](const std::stop_token& stop) { run(stop); }};
    return {};
  }

  /// While one lives, ends are remembered. For who adds jobs, and knows their ids afterwards only.
  class expecting {
   public:
    explicit expecting(basic_redis_job_events& of) : of_{of} {
      std::scoped_lock guard{of_.lock_};
      at_ = of_.expecting_.insert(of_.ends_);
    }
    expecting(const expecting&) = delete;
    expecting& operator=(const expecting&) = delete;
    ~expecting() {
      std::scoped_lock guard{of_.lock_};
      const bool first = at_ == of_.expecting_.begin();
      of_.expecting_.erase(at_);
      if (!first) return;
      std::erase_if(of_.ended_,
                    [this](const auto& e) { return of_.expecting_.empty() || e.second.number < *of_.expecting_.begin(); });
    }

   private:
    friend basic_redis_job_events;
    basic_redis_job_events& of_;
    typename std::multiset<number_type>::iterator at_;
  };
  /// The job's own end stands behind `place` in the stream; one that stands before it is another job's, which had the id.
  void watch(const expecting&, const std::string& id, std::string_view place, job_watch& w) {
    const position after = position_of(place);
    end e;
    {
      std::scoped_lock guard{lock_};
      auto [at, past] = ended_.equal_range(id);
      while (at != past && at->second.at <= after) ++at;
      if (at == past) {
        watches_.emplace(id, watcher{&w, after, watched_++});
        return;
      }
      e = at->second.how;
    }
    w.over(e.first, e.second);
  }
  /// It may have ended long ago, and be kept. Tells its watches then.
  void look_at(const std::string& id) {
    const std::uint64_t so_far = watched();
    if (const auto e = look_(id); e && e->first != job_state::waiting) over(id, *e, so_far);
  }

 private:
  using end = std::pair<job_state, job_text>;
  using position = std::pair<std::uint64_t, std::uint64_t>;  // of an entry in the stream: "ms-number" as text
  struct remembered {
    end how = {};
    position at = {};
    std::uint64_t number = 0;
  };
  struct watcher {
    job_watch* watch = nullptr;
    position after = {};
    std::uint64_t number = 0;
  };

  static position position_of(std::string_view text) noexcept {
    position p{};
    const char* const end = text.data() + text.size();
    const auto ms = std::from_chars(text.data(), end, p.first);
    if (ms.ptr != end) std::from_chars(ms.ptr + 1, end, p.second);
    return p;
  }

  void run(const std::stop_token& stop) noexcept {
    auto look_again = std::chrono::steady_clock::now();
    while (!stop.stop_requested()) {
      try {
        const auto came = connection_.command_blocking(std::chrono::seconds{1}, "XREAD", "COUNT", 1000, "BLOCK", 1000, "STREAMS",
                                                       stream_, last_);
        if (came && came->is_array()) take((*came)[0][1].items());
        if (!came && !stop.stop_requested())
          static_cast<void>(pause_.wait({.stop = stop, .deadline = deadline::after(std::chrono::milliseconds{200})}));
        if (std::chrono::steady_clock::now() - look_again > std::chrono::seconds{1}) {
          look_at_some(stop);
          look_again = std::chrono::steady_clock::now();
        }
      } catch (...) {  // no memory, or no stream of BullMQ's
        static_cast<void>(pause_.wait({.stop = stop, .deadline = deadline::after(std::chrono::seconds{1})}));
      }
    }
  }

  void take(const std::vector<redis_reply>& entries) {
    std::vector<event_type> all;
    struct ended {
      std::string id;
      end how;
      position at;
    };
    std::vector<ended> ends;
    for (const redis_reply& entry : entries) {
      last_ = entry[0].text();
      const position at = position_of(last_);
      const std::vector<redis_reply>& fields = entry[1].items();
      const auto field = [&fields](std::string_view name) -> const std::string* {
        for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
          if (fields[i].text() == name) return &fields[i + 1].text();
        }
        return nullptr;
      };
      if (const auto e = event_of(field)) all.push_back(*e);
      const std::string* const what = field("event");
      const std::string* const id = field("jobId");
      if (what == nullptr || id == nullptr) continue;
      if (*what == "completed") {
        ends.push_back({*id, {job_state::completed, text_of(field("returnvalue"))}, at});
      } else if (*what == "failed") {
        ends.push_back({*id, {job_state::failed, text_of(field("failedReason"))}, at});
      } else if (*what == "removed") {
        ends.push_back({*id, {job_state::waiting, nullptr}, at});
      }
    }
    tell_(all);
    for (const auto& e : ends) over(e.id, e.how, e.at);
  }
  static job_text text_of(const std::string* s) { return s != nullptr ? std::make_shared<const std::string>(*s) : job_text{}; }

  template <class Field>
  static std::optional<event_type> event_of(const Field& field) {
    using kind = job_event::kind;
    static constexpr std::array<std::pair<std::string_view, kind>, 14> kinds{{{"added", kind::added},
                                                                              {"delayed", kind::delayed},
                                                                              {"active", kind::started},
                                                                              {"completed", kind::completed},
                                                                              {"failed", kind::failed},
                                                                              {"retries-exhausted", kind::retries_exhausted},
                                                                              {"stalled", kind::stalled},
                                                                              {"progress", kind::progress},
                                                                              {"removed", kind::removed},
                                                                              {"duplicated", kind::duplicate},
                                                                              {"deduplicated", kind::duplicate},
                                                                              {"drained", kind::drained},
                                                                              {"paused", kind::paused},
                                                                              {"resumed", kind::resumed}}};
    const std::string* const what = field("event");
    if (what == nullptr) return std::nullopt;
    event_type e;
    if (const std::string* const id = field("jobId")) e.id = to_job_id(*id);
    if (*what == "waiting") {
      const std::string* const from = field("prev");
      if (from == nullptr) return std::nullopt;  // it was told as added
      e.what = *from == "delayed" ? kind::promoted : *from == "failed" ? kind::redriven : kind::retried;
      return e;
    }
    for (const auto& [name, k] : kinds) {
      if (*what != name) continue;
      e.what = k;
      if (k == kind::completed) e.value = text_of(field("returnvalue"));
      if (k == kind::failed) e.why = text_of(field("failedReason"));
      if (k == kind::progress && field("data") != nullptr) e.progress = job_codec<double>::decode(*field("data")).value_or(0.0);
      return e;
    }
    return std::nullopt;
  }

  // As the stream has it.
  void over(const std::string& id, const end& how, position at) {
    {
      std::scoped_lock guard{lock_};
      if (!expecting_.empty()) ended_.emplace(id, remembered{how, at, ends_});
      ++ends_;
    }
    tell_watches(id, how, [at](const watcher& w) { return w.after < at; });
  }
  // As a look has it, which began after so many had begun to watch. Who came later may watch another job of that id.
  void over(const std::string& id, const end& how, std::uint64_t watched) {
    tell_watches(id, how, [watched](const watcher& w) { return w.number < watched; });
  }
  template <class Concerned>
  void tell_watches(const std::string& id, const end& how, Concerned concerned) {
    std::vector<job_watch*> told;
    {
      std::scoped_lock guard{lock_};
      auto [at, past] = watches_.equal_range(id);
      while (at != past) {
        if (!concerned(at->second)) {
          ++at;
          continue;
        }
        told.push_back(at->second.watch);
        at = watches_.erase(at);
      }
    }
    for (job_watch* const w : told) w->over(how.first, how.second);  // under no lock
  }
  std::uint64_t watched() {
    std::scoped_lock guard{lock_};
    return watched_;
  }
  void look_at_some(const std::stop_token& stop) {
    std::vector<text_type> ids;
    {
      std::scoped_lock guard{lock_};
      for (auto at = watches_.upper_bound(looked_at_); at != watches_.end() && ids.size() < 100;
           at = watches_.upper_bound(at->first)) {
        ids.push_back(at->first);
      }
    }
    looked_at_ = ids.size() < 100 ? std::string{} : ids.back();
    for (const std::string& id : ids) {
      if (stop.stop_requested()) return;  // each look may take a while if the server is gone
      const std::uint64_t so_far = watched();
      const auto e = look_(id);
      // One that is gone may have ended just now, and its event come with the next ones: only who is gone still the next time was removed.
      if (e && (e->first != job_state::waiting || !gone_.insert(id).second)) over(id, *e, so_far);
    }
    if (looked_at_.empty()) {
      std::scoped_lock guard{lock_};
      std::erase_if(gone_, [this](const std::string& id) { return !watches_.contains(id); });
    }
  }

  basic_redis_connection<Sync> connection_;
  const std::string stream_;
  move_only_function<void(std::span<const event_type>)> tell_;
  look_up look_;
  basic_event<Sync> pause_;  // never set
  std::string last_ = "0-0";
  std::string looked_at_;
  std::set<text_type> gone_;
  std::mutex lock_;
  // Guarded by it:
  std::multimap<text_type, watcher> watches_;
  std::uint64_t watched_ = 0;                   // how many have begun to
  std::multimap<text_type, remembered> ended_;  // in their order; while somebody expects one, and since the first of these does
  std::multiset<number_type> expecting_;        // how many ends had been read when they began
  std::uint64_t ends_ = 0;
  std::mutex starting_;
  std::jthread thread_;
};

using redis_job_events = basic_redis_job_events<>;

}  // namespace penstock::inline v0_1::detail
