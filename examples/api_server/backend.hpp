// What the server answers: users and their posts, with everything that keeps it up under load.
//
// Clients        a keyed_limiter: who asks for more than its share gets 429, and others do not notice.
// Cache          of the batchers: what is remembered is answered at once, on the server's thread, and counts against no other limit.
// Reads          by a batcher each: whatever is asked for while a batch runs is one batch: one query, or where there is no query for several (pages) at
//                least one hand-over to the thread that asks. A page of posts and their authors is two queries, and not 21. A batch leaves when the loop has been
//                through what was ready, so that what comes at the same time is one hand-over: those are dearer than the queries.
// Searches       a pool of their own, so that reads do not stand behind them.
// Shedding       an adaptive_limit for reads that miss the cache and one for searches: beyond what the database answers without a queue, 503 at once.
// Writes         an accumulator: posts that come while a transaction runs share the next one.
// Connections    a resource_pool.
// Who waits      at /debug/waits, with the spans of who asked, if that is wanted: it costs every wait something.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include <penstock/batch/accumulator.hpp>
#include <penstock/batch/batcher.hpp>
#include <penstock/core/tracer.hpp>
#include <penstock/observe/counter.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/observe/who_waits.hpp>
#include <penstock/pool/resource_pool.hpp>
#include <penstock/pool/worker_pool.hpp>
#include <penstock/rate/adaptive_limit.hpp>
#include <penstock/rate/keyed_limiter.hpp>

#include "http.hpp"
#include "options.hpp"
#include "store.hpp"

namespace api {

/// While it lives, who waits is known, and on whose behalf: work takes along the context that it was begun with as long as there is a tracer; this one does
/// nothing else.
struct waits_watched {
  penstock::wait_watch watch;
  penstock::tracer none;
  penstock::trace_session carrying{none};
};

class backend final : public service {
 public:
  /// `loop`: where its members are called.
  backend(const options& o, penstock::registry& all, boost::asio::io_context& loop);

  response handle(const request& r) override;
  void draining() noexcept override { draining_ = true; }

 private:
  using id = std::int64_t;
  using cached = penstock::batcher<id, json>;

  response route(const request& r);
  response one_of(cached& from, id key);
  penstock::task<answer> load(cached& from, id key, penstock::adaptive_permit permit);
  penstock::task<answer> page_of(page_key which, penstock::adaptive_permit permit);
  penstock::task<answer> search(std::string word, penstock::adaptive_permit permit);
  penstock::task<answer> create(id author, std::string title);

  // f(store), with a connection of the pool. Throws std::system_error if there is none.
  template <class F>
  auto use(F f);

  std::optional<waits_watched> waits_;  // the first, so that it goes last
  penstock::registry& all_;
  penstock::keyed_limiter<std::string> clients_;
  penstock::counter limited_;
  penstock::adaptive_limit<> read_limit_;
  penstock::adaptive_limit<penstock::vegas_limit> search_limit_;  // keeps the shortest queue that leaves its thread no pause
  penstock::counter shed_;
  penstock::resource_pool<store> connections_;
  penstock::worker_pool readers_;
  penstock::worker_pool searchers_;
  penstock::worker_pool writers_;
  cached users_;
  cached posts_of_;
  penstock::batcher<page_key, std::shared_ptr<const page>, page_hash> pages_;
  penstock::accumulator<new_post> posts_;
  bool draining_ = false;  // of the server's thread
  std::array<penstock::registry_membership, 12> joined_;
};

}  // namespace api
