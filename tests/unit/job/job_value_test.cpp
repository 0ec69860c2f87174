// What handlers give, and which of them runs which job.
#include <penstock/job/job_handlers.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include <penstock/core/task.hpp>
#include <penstock/job/job_codec.hpp>
#include <penstock/job/job_queue.hpp>
#include <penstock/job/job_worker.hpp>
#include <penstock/sync/event.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "../../support/catch.hpp"

namespace job_values {

struct point {
  int x = 0;
  int y = 0;
};

}  // namespace job_values

/// "x,y"; of a point on the diagonal there is no text.
template <>
struct penstock::job_codec<job_values::point> {
  static std::string encode(const job_values::point& p) {
    if (p.x == p.y) throw std::runtime_error{"on the diagonal"};
    return std::to_string(p.x) + "," + std::to_string(p.y);
  }
  static penstock::result<job_values::point> decode(std::string_view text) {
    const auto comma = text.find(',');
    if (comma == text.npos) return std::make_error_code(std::errc::invalid_argument);
    const auto x = job_codec<int>::decode(text.substr(0, comma));
    const auto y = job_codec<int>::decode(text.substr(comma + 1));
    if (!x || !y) return std::make_error_code(std::errc::invalid_argument);
    return job_values::point{*x, *y};
  }
};

namespace job_values {

using penstock::errc;
using penstock::job;
using penstock::job_codec;
using penstock::job_handlers;
using penstock::job_outcome;
using penstock::result;
using penstock::task;

namespace {

struct bench {
  explicit bench(job_handlers<int> h) : worker{queue, loop, std::move(h)} { loop.run_all(); }
  ~bench() {
    worker.request_stop();
    loop.run_all();
  }
  /// The value's text, or what the future throws.
  template <class R>
  [[gnu::noinline]] std::string run(std::string_view name, int payload) {
    auto f = queue.submit<R>(name, payload).value().finished;
    loop.run_all();
    try {
      if constexpr (std::is_void_v<R>) {
        f.get();
        return "over";
      } else {
        return job_codec<R>::encode(f.get());
      }
    } catch (const penstock::job_value_error& e) {
      return "no value: " + std::string{e.code() == errc::not_found ? "none" : e.what()};
    } catch (const penstock::job_failed& e) {
      return std::string{"failed: "} + e.what();
    }
  }
  penstock::manual_executor loop;
  penstock::job_queue<int> queue;
  penstock::job_worker<int> worker;
};

template <class T>
std::string there_and_back(T value) {
  const std::string text = job_codec<T>::encode(value);
  return job_codec<T>::decode(text).value() == value ? text : text + " is another one";
}

}  // namespace

TEST_CASE("job_codec: texts of numbers and bools are those of any language, and no others are taken", "[job_codec]") {
  CHECK(there_and_back(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(there_and_back(0.1) == "0.1");
  CHECK(there_and_back(std::numeric_limits<double>::denorm_min()) == "5e-324");
  CHECK(there_and_back(true) == "true");
  CHECK(there_and_back(std::string{"a\0b", 3}).size() == 3);
  std::string refused;
  for (const char* text : {"", " 1", "1 ", "+1", "0x1", "one", "128"}) {
    const auto r = job_codec<signed char>::decode(text);
    refused += r                                             ? "taken"
               : r.error() == std::errc::invalid_argument    ? "i"
               : r.error() == std::errc::result_out_of_range ? "r"
                                                             : "?";
  }
  CHECK(refused == "iiiiiir");
  CHECK(job_codec<bool>::decode("1").error() == std::errc::invalid_argument);
}

TEST_CASE("job_worker: what a handler gives goes to who waits for it, and is kept", "[job_worker][job_handlers]") {
  penstock::event turn;
  int stopped = 0;
  job_handlers<int> handlers;
  handlers.on("void", [](job<int>&) {})
      .on("int", [](job<int>& j) { return j.payload() + 1; })
      .on("text",
          [](job<int>& j) -> result<std::string> {
            if (j.payload() == 0) return errc::rejected;
            return std::string(static_cast<std::size_t>(j.payload()), 'x');
          })
      .on("point", [](job<int>& j) { return point{j.payload(), 7}; })
      .on("done", [](job<int>& j) { return j.payload() == 0 ? job_outcome::done("zero") : job_outcome::done(0.5); })
      .on("later",
          [&](job<int>& j) -> task<int> {
            const int twice = 2 * j.payload();
            auto wait = turn.async_wait();
            const result<void> waited = co_await std::move(wait);
            if (!waited) ++stopped;
            co_return twice;
          })
      .on("", [](job<int>& j) -> task<job_outcome> { co_return job_outcome::done("none" + std::string{j.name()}); });
  bench b{handlers};
  CHECK(b.run<void>("void", 1) == "over");
  CHECK(b.run<int>("void", 1) == "no value: none");
  CHECK(b.run<int>("int", 1) == "2");
  CHECK(b.run<void>("int", 1) == "over");
  CHECK(b.run<std::string>("text", 3) == "xxx");
  CHECK(b.run<int>("text", 3) ==
        "no value: the value of a job, \"xxx\": " + make_error_code(std::errc::invalid_argument).message());
  CHECK(b.run<int>("text", 100).size() < 140);
  CHECK(b.run<std::string>("text", 0) == "failed: rejected");
  CHECK(b.run<point>("point", 3) == "3,7");
  CHECK(b.run<point>("point", 7) == "failed: on the diagonal");  // what the codec throws is the attempt's failure
  CHECK(b.run<std::string>("done", 0) == "zero");
  CHECK(b.run<std::string>("done", 1) == "0.5");
  CHECK(b.run<std::string>("", 0) == "none");
  auto f = b.queue.submit<int>("later", 4, {.job_id = "four"}).value();
  b.loop.run_all();
  CHECK_FALSE(f.finished.is_ready());
  turn.set();
  b.loop.run_all();
  CHECK(f.finished.get() == 8);
  CHECK(b.queue.submit<int>(4, {.job_id = "four"}).value().finished.get() == 8);  // it is over, and its value kept
  const auto info = b.queue.find(f.id).value();
  CHECK((*info.value == "8" && *info.name == "later"));
  // What comes after a job in its place has nothing of it.
  static_cast<void>(b.queue.submit<int>("int", 1, {.remove_on_complete = true}).value());
  b.loop.run_all();
  const auto next = b.queue.find(b.queue.add(9, {.delay = std::chrono::hours{1}}).value()).value();
  CHECK((next.value == nullptr && next.name == nullptr));
  // A coroutine that a job's name has led to observes that job's stop token.
  turn.reset();
  b.queue.add("later", 5).value();
  b.loop.run_all();
  b.worker.request_stop();
  b.loop.run_all();
  CHECK(stopped == 1);
}

TEST_CASE("job_handlers: run the jobs of their names, and a job that nobody can run is a dead letter", "[job_handlers]") {
  std::string ran;
  const auto note = [&ran](job<int>& j) { ran += std::string{j.name()} + std::to_string(j.payload()) + " "; };
  job_handlers<int> handlers;
  handlers.on("a", [note, only = std::make_unique<int>(1)](job<int>& j) { note(j); }).on("b", note);
  CHECK_THROWS_AS(handlers.on("b", note), std::invalid_argument);
  {
    bench b{handlers};
    b.queue.add("b", 1).value();
    const int two = 2;
    b.queue.try_add("a", two, {.lifo = true, .keep_logs = 0}).value();
    CHECK(b.run<void>("c", 3) == "failed: this worker has no handler for jobs named \"c\"");
    CHECK(b.run<void>("", 3) == "failed: this worker has no handler for jobs without a name");
    CHECK(ran == "a2 b1 ");
  }
  ran.clear();
  bench b{job_handlers<int>{}.otherwise(handlers).on("c", std::function<void(job<int>&)>{note})};  // several in one
  CHECK(b.run<void>("c", 1) == "over");
  CHECK(b.run<void>("a", 2) == "over");
  CHECK(b.run<void>("d", 3) == "failed: this worker has no handler for jobs named \"d\"");
  CHECK(ran == "c1 a2 ");
}

}  // namespace job_values
