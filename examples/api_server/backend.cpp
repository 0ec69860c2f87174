#include "backend.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <optional>
#include <ranges>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include <penstock/observe/prometheus_text.hpp>

#include "json.hpp"

namespace api {

namespace {

using fulltext::json_object;

answer failure(unsigned status, std::string_view why) {
  return {.status = status, .body = json_object{}.add("error", why).text()};
}

answer busy(penstock::counter& count) {
  count.add();
  answer a = failure(503, "too much to do");
  a.retry_after = 1;
  return a;
}

answer not_found() { return failure(404, "not found"); }

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return n;
}

// Of a query, decoded; empty if it is not there.
std::string parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (!pair.starts_with(name) || pair.substr(name.size(), 1) != "=") continue;
    std::string value;
    for (std::string_view rest = pair.substr(name.size() + 1); !rest.empty(); rest.remove_prefix(1)) {
      unsigned code = 0;
      if (rest.front() == '%' && rest.size() >= 3 &&
          std::from_chars(rest.data() + 1, rest.data() + 3, code, 16).ptr == rest.data() + 3) {
        value.push_back(static_cast<char>(code));
        rest.remove_prefix(2);
      } else {
        value.push_back(rest.front() == '+' ? ' ' : rest.front());
      }
    }
    return value;
  }
  return {};
}

constexpr std::size_t searched_at_once = 1;  // in each process, of which there is one for each processor
constexpr std::size_t most_found = 20;

// At least `lowest`, for less would leave threads idle; at the most `highest`, whatever the latencies seem to say: with more the last one in line would
// wait for longer than anybody wants to.
penstock::adaptive_limit_options limit_of(bool shedding, std::ptrdiff_t lowest, std::ptrdiff_t highest) {
  constexpr std::ptrdiff_t all = 1'000'000;
  if (!shedding) return {.initial = all, .lowest = all, .highest = all};
  return {.initial = lowest, .lowest = lowest, .highest = highest, .window = std::chrono::milliseconds{200}};
}

// The queue has room for whatever the limits let in, so that the server's thread never waits.
penstock::worker_pool_options pool_of(bool shedding, const char* name, std::size_t threads) {
  return {.threads = threads,
          .queue_capacity = shedding ? 2'000U : 100'000U,
          .name = name,
          .overflow = penstock::overflow::reject,
          .metrics = true};
}

// Of a batcher: its keys leave when the loop has been through what is ready now. (Without memory for that the program ends.)
auto after_this_turn(boost::asio::io_context& loop) {
  return [&loop](std::function<void()> leave) { boost::asio::post(loop, std::move(leave)); };
}

}  // namespace

template <class F>
auto backend::use(F f) {
  auto connection = connections_.acquire();
  if (!connection) throw std::system_error{connection.error(), "no connection"};
  return f(**connection);
}

backend::backend(const options& o, penstock::registry& all, boost::asio::io_context& loop)
    : all_{all},
      clients_{penstock::rate{o.client_rate, std::chrono::seconds{1}}, o.client_burst},
      read_limit_{limit_of(o.shedding, 200, 1'000)},
      search_limit_{limit_of(o.shedding, 4 * searched_at_once, 8 * searched_at_once),
                    penstock::vegas_limit{{.queue_low = 1, .queue_high = 3}}},
      connections_{[file = o.database] { return store{file}; }, {.max_size = 3, .metrics = true}},
      readers_{pool_of(o.shedding, "reads", 1)},
      searchers_{pool_of(o.shedding, "searches", searched_at_once)},
      writers_{{.threads = 1, .name = "writes", .metrics = true}},
      users_{readers_,
             [this](std::span<const id> ids) { return use([&](store& s) { return s.users(ids); }); },
             {.schedule = penstock::batch_schedule::flush_only,
              .max_batch_size = 500,
              .on_first_key = after_this_turn(loop),
              .cache = {.max_entries = o.cached, .ttl = o.cache_time, .negative_ttl = std::chrono::seconds{1}},
              .metrics = true}},
      posts_of_{readers_,
                [this](std::span<const id> authors) { return use([&](store& s) { return s.posts_of(authors); }); },
                {.schedule = penstock::batch_schedule::flush_only,
                 .max_batch_size = 100,
                 .on_first_key = after_this_turn(loop),
                 .cache = {.max_entries = o.cached, .ttl = o.cache_time},
                 .metrics = true}},
      pages_{readers_,
             [this](std::span<const page_key> keys) { return use([&](store& s) { return s.pages(keys); }); },
             {.schedule = penstock::batch_schedule::flush_only,
              .max_batch_size = 20,
              .on_first_key = after_this_turn(loop),
              .metrics = true}},
      posts_{writers_,
             [this](std::span<const new_post> batch) { use([&](store& s) { s.insert(batch); }); },
             {.max_batch_size = 1'000, .metrics = true}},
      joined_{all.join("http",
                       [this](penstock::metric_sink& to) {
                         to.kind("api");
                         to.counter(penstock::metrics::rejected, limited_.value(), {"reason", "client_limit"});
                         to.counter(penstock::metrics::rejected, shed_.value(), {"reason", "shed"});
                       }),
              all.join("clients", clients_),
              all.join("read_limit", read_limit_),
              all.join("search_limit", search_limit_),
              all.join("connections", connections_),
              all.join("reads", readers_),
              all.join("searches", searchers_),
              all.join("writes", writers_),
              all.join("users", users_),
              all.join("posts_of_users", posts_of_),
              all.join("pages", pages_),
              all.join("new_posts", posts_)} {
  if (o.watch_waits) waits_.emplace();
}

response backend::handle(const request& r) {
  const bool get = r.method == "GET" || r.method == "HEAD";
  if (get && r.target == "/healthz") return answer{.body = "ok\n", .type = "text/plain"};
  if (get && r.target == "/readyz")
    return answer{.status = draining_ ? 503U : 200U, .body = draining_ ? "draining\n" : "ready\n", .type = "text/plain"};
  if (get && r.target == "/metrics")
    return answer{.body = penstock::to_prometheus_text(all_.snapshot()), .type = "text/plain; version=0.0.4"};
  // It has addresses of this process, which are nobody else's business.
  if (get && waits_ && r.local && r.target == "/debug/waits")
    return answer{.body = penstock::dump_waiters(), .type = "text/plain"};
  if (!clients_.try_acquire(r.client)) {
    limited_.add();
    answer a = failure(429, "too many requests");
    const auto wait = std::chrono::ceil<std::chrono::seconds>(clients_.retry_after(r.client));
    a.retry_after = static_cast<unsigned>(std::max<std::int64_t>(wait.count(), 1));
    return a;
  }
  return route(r);
}

response backend::route(const request& r) {
  std::string_view path = r.target.substr(0, r.target.find('?'));
  const std::string_view query = r.target.substr(std::min(path.size() + 1, r.target.size()));
  const bool get = r.method == "GET" || r.method == "HEAD";
  constexpr std::string_view users = "/users/";
  if (path.starts_with(users)) {
    path.remove_prefix(users.size());
    const std::size_t slash = path.find('/');
    const std::string_view rest = slash == path.npos ? std::string_view{} : path.substr(slash);
    const auto user = number(path.substr(0, slash));
    if (!user || (!rest.empty() && rest != "/posts")) return not_found();
    if (get) return one_of(rest.empty() ? users_ : posts_of_, *user);
    if (rest.empty() || r.method != "POST") return failure(405, "not allowed");
    if (r.body.empty() || r.body.size() > 1'000) return failure(400, "a title of 1 to 1000 bytes is the body");
    return create(*user, std::string{r.body});
  }
  if (!get) return failure(405, "not allowed");
  if (path == "/posts") {
    auto permit = read_limit_.try_acquire();
    if (!permit) return busy(shed_);
    const std::int64_t limit = std::clamp<std::int64_t>(number(parameter(query, "limit")).value_or(20), 1, 100);
    return page_of({number(parameter(query, "after")).value_or(0), limit}, std::move(*permit));
  }
  if (path == "/search") {
    std::string word = parameter(query, "q");
    if (word.empty()) return failure(400, "q is missing");
    auto permit = search_limit_.try_acquire();
    if (!permit) return busy(shed_);
    return search(std::move(word), std::move(*permit));
  }
  return not_found();
}

response backend::one_of(cached& from, id key) {
  const auto known = from.try_load(key);
  if (known) return answer{.shared_body = *known};
  if (known.error() == penstock::errc::not_found) return not_found();
  auto permit = read_limit_.try_acquire();
  if (!permit) return busy(shed_);
  return load(from, key, std::move(*permit));
}

penstock::task<answer> backend::load(cached& from, id key, penstock::adaptive_permit permit) {
  const auto loaded = co_await from.async_load(key);
  permit.success();
  if (loaded) co_return answer{.shared_body = *loaded};
  if (loaded.error() == penstock::errc::not_found) co_return not_found();
  throw std::system_error{loaded.error(), "load"};
}

penstock::task<answer> backend::page_of(page_key which, penstock::adaptive_permit permit) {
  auto asking = pages_.async_load(which);
  const auto asked = co_await std::move(asking);
  if (!asked) throw std::system_error{asked.error(), "page"};
  const page& found = **asked;
  auto authors = users_.try_load_many(found.parts | std::views::transform(&page::part::author));
  std::vector<id> missing;
  for (std::size_t i = 0; i < authors.size(); ++i) {
    if (!authors[i]) missing.push_back(found.parts[i].author);
  }
  if (!missing.empty()) {
    auto loading = users_.async_load_many(std::move(missing));  // one query for all
    auto loaded = co_await std::move(loading);
    for (auto next = loaded.begin(); auto& author : authors) {
      if (!author) author = (next++)->get();
    }
  }
  permit.success();
  std::size_t length = found.text.size();
  for (const auto& author : authors) length += (*author)->size();
  std::string body;
  body.reserve(length);
  std::size_t from = 0;
  for (std::size_t i = 0; i < authors.size(); ++i) {
    const std::size_t end = found.parts[i].end;
    body.append(found.text, from, end - from).append(**authors[i]);
    from = end;
  }
  body.append(found.text, from);
  co_return answer{.body = std::move(body)};
}

penstock::task<answer> backend::search(std::string word, penstock::adaptive_permit permit) {
  auto query = [this, &word] { return use([&](store& s) { return s.search(word, most_found); }); };
  auto pending = searchers_.submit(std::move(query));
  const search_result r = co_await std::move(pending);
  permit.success();
  const auto text = [](const post& p) {
    return json_object{}.add("id", p.id).add("author", p.author).add("title", p.title).text();
  };
  co_return answer{.body = json_object{}.add("found", r.found).raw("posts", fulltext::json_array(r.newest, text)).text()};
}

penstock::task<answer> backend::create(id author, std::string title) {
  auto loading = users_.async_load(author);
  const auto known = co_await std::move(loading);
  if (!known && known.error() == penstock::errc::not_found) co_return not_found();
  auto number_of = std::make_shared<id>(0);
  auto writing = posts_.async_add(new_post{author, title, number_of});
  const auto written = co_await std::move(writing);
  if (!written) throw std::system_error{written.error(), "create"};
  posts_of_.clear(author);  // the other processes notice when their time has come
  co_return answer{.status = 201, .body = json_object{}.add("id", *number_of).add("author", author).add("title", title).text()};
}

}  // namespace api
