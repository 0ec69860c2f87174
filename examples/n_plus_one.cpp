// A page with a hundred posts needs their authors. Asked one by one that is a query for each; through a batcher it is one, and no caller
// knows of others.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <penstock/penstock.hpp>

using namespace std::chrono_literals;

namespace {

// A database that takes a millisecond for a query, however many keys it is for.
struct database {
  std::atomic<int> queries{0};

  std::unordered_map<int, std::string> users(std::span<const int> ids) {
    ++queries;
    std::this_thread::sleep_for(1ms);
    std::unordered_map<int, std::string> found;
    for (const int id : ids) {
      if (id != 13) found.emplace(id, "user " + std::to_string(id));
    }
    return found;
  }
};

using user_loader = penstock::batcher<int, std::string>;

// What a resolver does: it loads what it needs, as if it were alone.
penstock::task<std::string> byline(user_loader& users, int post) {
  auto author = co_await users.async_load(post % 20);
  co_return author ? "post " + std::to_string(post) + " by " + *author : "post " + std::to_string(post) + " by nobody";
}

}  // namespace

int main() {
  database db;
  constexpr int posts = 100;

  for (int post = 0; post < posts; ++post) {
    const int author[] = {post % 20};
    static_cast<void>(db.users(author));
  }
  std::printf("one by one: %d queries\n", db.queries.exchange(0));

  penstock::worker_pool pool{{.threads = 2}};
  user_loader users{pool, [&](std::span<const int> ids) { return db.users(ids); }};

  // A hundred coroutines of one request.
  std::vector<penstock::spawned<std::string>> page;
  for (int post = 0; post < posts; ++post) page.push_back(penstock::spawn(pool, byline(users, post)));
  std::string last;
  for (auto& line : page) last = line.result();
  std::printf("coroutines: %d queries; the last line: %s\n", db.queries.load(), last.c_str());
  const int by_coroutines = db.queries.exchange(0);

  // And eight threads, each with a request of its own: while one query is under way, the keys of the others gather.
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&users, t] {
        for (int i = 0; i < 10; ++i) static_cast<void>(users.load((t * 3 + i) % 20, penstock::wait_limits{}));
      });
    }
  }
  std::printf("8 threads, 10 loads each: %d queries\n", db.queries.load());

  const auto stats = users.stats();
  std::printf("%.0f %% of the loads cost no key; the largest batch had %llu keys\n", 100 * stats.saved(),
              static_cast<unsigned long long>(stats.batch_size.max()));
  return by_coroutines < posts && users.load(13, penstock::wait_limits{}).error() == penstock::errc::not_found ? 0 : 1;
}
