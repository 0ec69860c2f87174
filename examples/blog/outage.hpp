// What clients see while the server goes away and comes back: clear errors within their deadlines, no wrong answer, nothing lost, nothing leaked.
//
// Clients  threads that load through the batcher, coroutines that do, threads that query, and threads that write, all of them all the time. Each
//          request has a deadline. Somebody else stops and starts the server meanwhile (tests/postgres/run_postgres.py), and asks on standard input:
//
//   down     says "down" when each kind of client has had an error since then
//   up       says "up" when each kind has had a hundred answers since then
//   end      ends all clients, and checks every account
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include <penstock/core/modifiers.hpp>
#include <penstock/core/spawn.hpp>
#include <penstock/core/task.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "blog.hpp"
#include "compare.hpp"
#include "postgres_connection.hpp"

namespace blog {

class outage {
  using steady = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds patience{500};
  static constexpr std::chrono::milliseconds slack{1'500};  // of a busy machine
  static constexpr std::int64_t stored = 2'000;
  static constexpr std::int64_t writer = 1'000'000;  // an author that nobody reads
  static constexpr int of_each_kind = 2;

  enum kind : unsigned char { loads, coroutines, queries, writes };
  struct tally {
    const char* what;
    std::chrono::milliseconds deadline;
    std::atomic<std::uint64_t> answered{0};
    std::atomic<std::uint64_t> refused{0};
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::int64_t> longest_ms{0};
  };

 public:
  /// In the background the pool connects on a thread of its own; otherwise each client does, when it needs to.
  outage(std::string where, bool in_background)
      : where_{std::move(where)},
        service_{
            [this](const penstock::connect_request& r) { return postgres_connection{where_, r.deadline, patience}; },
            workers_,
            {.connections = 3,
             .patience = patience,
             .attempts = 4,
             .connect_on = in_background ? penstock::any_scheduler{connectors_.get_scheduler()} : penstock::any_scheduler{}}} {}

  /// Whether all went as it should.
  bool run() {
    std::vector<post> known = posts_up_to(stored);
    for (std::int64_t id = 0; post & p : known) p.id = ++id;
    service_.use([&](postgres_connection& c) {
      c.create(most_users);
      c.insert(known);
      c.index();
    });
    for (const post& p : known) expected_[static_cast<std::size_t>(p.author)].push_back(p.title);
    {
      std::vector<penstock::spawned<void>> tasks;
      for (int i = 0; i < of_each_kind; ++i) tasks.push_back(penstock::spawn(workers_, load_for_ever(i)));
      std::vector<std::jthread> threads;
      for (int i = 0; i < of_each_kind; ++i) {
        threads.emplace_back([this, i] { for_ever(i, [this](std::int64_t author) { load(author); }); });
        threads.emplace_back([this, i] { for_ever(i, [this](std::int64_t id) { query(id); }); });
        threads.emplace_back([this] { write_for_ever(); });
      }
      obey();
      ended_ = true;
      for (auto& t : tasks) t.result();
    }
    check_all();
    return failures_ == 0;
  }

 private:
  // --- the clients

  void settle(kind k, steady::time_point began) {
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(steady::now() - began).count();
    std::atomic<std::int64_t>& longest = tallies_[k].longest_ms;
    for (std::int64_t seen = longest; took > seen && !longest.compare_exchange_weak(seen, took);) {
    }
  }
  void answered(kind k, bool right) {
    ++tallies_[k].answered;
    if (!right) ++tallies_[k].wrong;
  }
  void refused(kind k, const std::string& why) {
    ++tallies_[k].refused;
    const std::scoped_lock guard{lock_};
    ++reasons_[why];
  }
  // f() throws, or says why not, or whether the answer is right.
  void request(kind k, auto&& f) {
    const steady::time_point began = steady::now();
    try {
      const penstock::result<bool> right = f();
      right ? answered(k, *right) : refused(k, right.error().message());
    } catch (const std::exception& e) {
      refused(k, e.what());
    }
    settle(k, began);
  }
  void for_ever(std::int64_t n, auto&& f) {
    for (; !ended_; n += 7) f(n % most_users + 1);
  }

  bool right(std::int64_t author, const titles& found) const { return found == expected_[static_cast<std::size_t>(author)]; }

  void load(std::int64_t author) {
    request(loads, [&]() -> penstock::result<bool> {
      const auto found = service_.posts_by_author().load(author, {.deadline = penstock::deadline::after(patience)});
      if (!found) return found.error();
      return right(author, *found);
    });
  }
  penstock::task<> load_for_ever(std::int64_t n) {
    for (; !ended_; n += 7) {
      const std::int64_t author = n % most_users + 1;
      const steady::time_point began = steady::now();
      std::string why;
      try {
        const auto found = co_await (service_.posts_by_author().async_load(author) | penstock::with_timeout(patience));
        if (found) {
          answered(coroutines, right(author, *found));
        } else {
          why = found.error().message();
        }
      } catch (const std::exception& e) {
        why = e.what();
      }
      if (!why.empty()) refused(coroutines, why);
      settle(coroutines, began);
    }
  }
  void query(std::int64_t id) {
    request(queries, [&]() -> penstock::result<bool> {
      const std::vector<user> found = service_.use([id](postgres_connection& c) { return c.users(id, 1); });
      return found.size() == 1 && found[0].id == id && found[0].name == "user " + std::to_string(id);
    });
  }
  void write_for_ever() {
    std::unordered_set<std::int64_t> written;
    std::vector<std::pair<std::int64_t, penstock::future<void>>> late;
    while (!ended_) {
      const std::int64_t id = next_id_++;
      request(writes, [&]() -> penstock::result<bool> {
        auto outcome = service_.create({.deadline = penstock::deadline::after(patience)}, {id, writer, "a \"new\" \\ post"});
        if (const penstock::result<void> in_time = outcome.try_wait_for(patience); !in_time) {
          late.emplace_back(id, std::move(outcome));  // it is tried again, and this client has given up
          return in_time.error();
        }
        outcome.get();
        written.insert(id);
        return true;
      });
    }
    for (auto& [id, outcome] : late) {
      try {
        outcome.get();
        written.insert(id);
      } catch (const std::exception&) {  // and so it was told
      }
    }
    const std::scoped_lock guard{lock_};
    written_.merge(written);
  }

  // --- who directs it

  void obey() {
    std::puts("ready");
    std::fflush(stdout);
    for (std::string command; std::getline(std::cin, command) && command != "end";) {
      if (command != "down" && command != "up") continue;
      std::array<std::uint64_t, 4> before{};
      const auto count = [&](std::size_t k) { return (command == "up" ? tallies_[k].answered : tallies_[k].refused).load(); };
      for (std::size_t k = 0; k < before.size(); ++k) before[k] = count(k);
      for (std::size_t k = 0; k < before.size();) {
        if (count(k) - before[k] >= (command == "up" ? 100U : 1U)) {
          ++k;
        } else {
          std::this_thread::sleep_for(std::chrono::milliseconds{5});
        }
      }
      std::puts(command.c_str());
      std::fflush(stdout);
    }
  }

  void check(bool right, const std::string& what) {
    std::printf("%s %s\n", right ? "ok" : "FAILED", what.c_str());
    failures_ += right ? 0 : 1;
  }

  void check_all() {
    for (const tally& t : tallies_) {
      const std::string what = t.what;
      check(t.wrong == 0, what + ": no answer is wrong, of " + std::to_string(t.answered));
      check(t.longest_ms <= (t.deadline + slack).count(),
            what + ": each of " + std::to_string(t.refused) + " errors came by its deadline of " +
                std::to_string(t.deadline.count()) + " ms; the last request took " + std::to_string(t.longest_ms) + " ms");
    }
    for (const auto& [why, n] : reasons_) std::printf("   %llu times: %s\n", static_cast<unsigned long long>(n), why.c_str());
    check(!reasons_.contains(""), "each error says why");

    service_.posts().drain().value();  // clients are told before the account is closed
    const penstock::accumulator_stats posts = service_.posts().stats();
    check(posts.held == 0 && posts.added == posts.acknowledged + posts.failed,
          "each post was written, or its client was told that it failed");
    check(posts.acknowledged == written_.size(), "as many posts were acknowledged as their clients know of");
    const std::vector<std::int64_t> there = service_.use([](postgres_connection& c) { return c.ids_of(writer); });
    const std::unordered_set<std::int64_t> ids{there.begin(), there.end()};
    std::size_t lost = 0;
    std::size_t made_up = 0;
    for (const std::int64_t id : written_) lost += ids.contains(id) ? 0 : 1;
    for (const std::int64_t id : ids) made_up += id >= first_id && id < next_id_ ? 0 : 1;
    check(lost == 0 && made_up == 0, std::to_string(written_.size()) + " acknowledged posts are there, and " +
                                         std::to_string(ids.size() - written_.size()) + " whose acknowledgement was lost");
    const std::int64_t all = service_.use([](postgres_connection& c) { return c.posts(); });
    check(all == stored + static_cast<std::int64_t>(ids.size()), "the others are as they were");
    service_.use([](postgres_connection& c) { c.drop(); });

    const penstock::resource_pool_stats pool = service_.connections().stats();
    check(pool.in_use == 0 && pool.waiting == 0 && pool.created == pool.idle + pool.discarded.total(),
          "no lease is out; " + std::to_string(pool.created) + " connections were made, " +
              std::to_string(pool.connect_failures) + " attempts failed, " + std::to_string(pool.discarded.total()) +
              " were thrown away");
    check(service_.connections().drain().has_value() && asked.opened == asked.closed, "every connection was closed");
  }

  static constexpr std::int64_t first_id = 10'000'000;

  const std::string where_;
  penstock::worker_pool connectors_{{.threads = 1}};
  penstock::worker_pool workers_{{.threads = 3}};
  std::array<titles, most_users + 1> expected_;
  std::array<tally, 4> tallies_{{{"threads that load", patience},
                                 {"coroutines that load", patience},
                                 {"threads that query", 2 * patience},    // for a connection, and for the answer
                                 {"threads that write", 2 * patience}}};  // for room, and for the outcome
  std::atomic<bool> ended_{false};
  std::atomic<std::int64_t> next_id_{first_id};
  std::mutex lock_;
  std::map<std::string, std::uint64_t> reasons_;  // guarded by lock_
  std::unordered_set<std::int64_t> written_;      // guarded by lock_
  int failures_ = 0;
  service<postgres_connection> service_;
};

}  // namespace blog
