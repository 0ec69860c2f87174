// The parts of penstock-load that need no server.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "arrivals.hpp"
#include "options.hpp"
#include "request.hpp"
#include "response_reader.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using load::rate_profile;
using load::response_reader;
using load::spacing;

namespace {

// What a reader makes of an answer that comes in pieces of this size; `taken`: how much of it. A connection that ends does so after the last byte.
struct read_result {
  bool done = false;
  bool broken = false;
  bool keeps_alive = false;
  int status = 0;
  std::size_t taken = 0;
  bool operator==(const read_result&) const = default;
};
read_result read(std::string_view text, std::size_t piece, bool ends = false, bool head = false) {
  response_reader r;
  r.begin(head);
  read_result result;
  while (result.taken < text.size() && !r.done() && !r.broken()) {
    const std::string copy{text.substr(result.taken, piece)};  // a reader must not keep what it was given
    result.taken += r.feed(copy);
  }
  if (ends) static_cast<void>(r.end());
  result.done = r.done();
  result.broken = r.broken();
  if (r.done()) result.status = r.status(), result.keeps_alive = r.keeps_alive();
  return result;
}

std::vector<double> times_of(const rate_profile& profile, spacing how, std::uint64_t seed, std::size_t threads) {
  std::vector<double> all;
  for (std::size_t i = 0; i < threads; ++i) {
    load::arrivals a{profile, how, seed, i, threads};
    while (const auto next = a.next()) all.push_back(std::chrono::duration<double>(next->at).count());
  }
  std::sort(all.begin(), all.end());
  return all;
}

bool near(double value, double expected, double relative = 1e-8) { return std::abs(value - expected) <= relative * expected; }

}  // namespace

TEST_CASE("penstock-load: an answer ends where RFC 9112 says, in whatever pieces it comes", "[load]") {
  struct answer {
    std::string_view text;
    read_result expected;
    bool ends = false;
    bool head = false;
  };
  const std::string_view chunked =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n00A;x=\"y\"\r\n0123456789\r\n1 \r\n\n\r\n0\r\nA: b\r\n\r\n";
  const std::string_view counted = "HTTP/1.1 503 Service Unavailable\r\ncontent-LENGTH:  5 \r\n\r\nhello";
  const std::string_view hints = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
  const std::string_view closing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: upgrade, Close\r\n\r\n";
  const std::string_view old = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
  const std::string_view old_kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx";
  const std::string_view head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
  const std::string_view no_reason = "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n";
  const answer answers[] = {
      {chunked, {true, false, true, 200, chunked.size()}},
      {counted, {true, false, true, 503, counted.size()}},
      {hints, {true, false, true, 204, hints.size()}},
      {closing, {true, false, false, 200, closing.size()}},
      {old, {true, false, false, 200, old.size()}, true},
      {old_kept, {true, false, true, 200, old_kept.size()}},
      {head, {true, false, true, 200, head.size()}, false, true},
      {head, {false, false, false, 0, head.size()}, true},  // the connection ends before the body has come
      {no_reason, {true, false, true, 200, no_reason.size()}},
  };
  for (const answer& a : answers) {
    for (std::size_t piece = 1; piece <= a.text.size(); ++piece) {
      INFO(a.text << " in pieces of " << piece);
      const read_result got = read(a.text, piece, a.ends, a.head);
      REQUIRE(got == a.expected);
    }
  }
  // What follows is not taken.
  const std::string two = std::string{counted} + "HTTP/1.1 200 OK\r\n";
  CHECK(read(two, two.size()).taken == counted.size());
}

TEST_CASE("penstock-load: what is no answer is told from one", "[load]") {
  for (const std::string text :
       {"SSH-2.0-OpenSSH\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno field\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"}) {
    INFO(text);
    CHECK(read(text, 1).broken);
    CHECK(read(text, text.size()).broken);
  }
  CHECK(read(std::string(100'000, 'x'), 1000).broken);  // a head without an end is not kept for ever
}

TEST_CASE("penstock-load: arrivals come at the rate of the profile, however many threads share them", "[load]") {
  const rate_profile steps{{{100, 100, 2s}, {0, 400, 2s}, {0, 0, 1s}, {50, 50, 2s}}};
  CHECK(near(steps.total(), 700));
  const auto one = times_of(steps, spacing::constant, 1, 1);
  REQUIRE(one.size() == 700);
  for (std::size_t i = 0; i < 200; ++i) CHECK(std::abs(one[i] - static_cast<double>(i) / 100) < 1e-8);
  // The ramp: 100 t² arrivals until t
  for (std::size_t i = 200; i < 600; ++i) CHECK(std::abs(one[i] - 2 - std::sqrt(static_cast<double>(i - 200) / 100)) < 1e-8);
  CHECK(near(one[600], 5));
  CHECK(near(one.back(), 6.98));
  CHECK(times_of(steps, spacing::constant, 1, 3) == one);
  CHECK(times_of(rate_profile{{{200, 200, 2200ms}}}, spacing::constant, 1, 1).size() == 440);
  const rate_profile falling{{{1000, 0, 1s}}};
  CHECK(times_of(falling, spacing::constant, 1, 1).size() == 500);

  const auto random = times_of(steps, spacing::poisson, 7, 2);
  CHECK(random == times_of(steps, spacing::poisson, 7, 2));
  CHECK(random != times_of(steps, spacing::poisson, 8, 2));
  CHECK(std::abs(static_cast<double>(random.size()) - 700) < 3 * std::sqrt(700.0));
}

TEST_CASE("penstock-load: its Poisson arrivals wait at an M/D/1 server as the theory says", "[load]") {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{4}}) {
    for (const double utilization : {0.5, 0.8}) {
      const double service = 0.002;
      const rate_profile profile{{{utilization / service, utilization / service, 2000s}}};
      const auto times = times_of(profile, spacing::poisson, 1, threads);
      double free_at = 0;
      double waited = 0;
      double squares = 0;  // of the gaps: their variance is that of the exponential distribution
      double before = 0;
      for (const double at : times) {
        waited += std::max(0.0, free_at - at);
        free_at = std::max(free_at, at) + service;
        squares += (at - before) * (at - before);
        before = at;
      }
      const auto n = static_cast<double>(times.size());
      INFO(threads << " threads, utilization " << utilization);
      CHECK(near(n, utilization / service * 2000, 0.005));
      CHECK(near(squares / n, 2 * std::pow(service / utilization, 2), 0.01));
      CHECK(near(waited / n, utilization * service / (2 * (1 - utilization)), 0.02));
    }
  }
}

TEST_CASE("penstock-load: command lines and requests", "[load]") {
  using load::parse_command_line;
  const auto o = parse_command_line({"--rate", "10,20:40", "--poisson", "--duration", "1.5s", "--max-errors", "1%", "--ok",
                                     "429,503", "--method", "POST", "--body", "text", "-H", "X: {1-2}",
                                     "http://[::1]:80/a{1-3}b{7-7}", "http://[::1]?q#f"});
  CHECK((o.steps.size() == 2 && o.steps[1].from == 20 && o.steps[1].to == 40 && o.steps[1].length == 750ms));
  CHECK((o.most_errors == 0.01 && o.accepted[429] && o.accepted[304] && !o.accepted[500] && o.urls[1].path == "/?q"));
  load::request_source requests{o, 1};
  std::vector<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.emplace_back(requests.next());
  CHECK(seen[1] == "POST /?q HTTP/1.1\r\nHost: [::1]\r\nUser-Agent: penstock-load\r\nX: {1-2}\r\nContent-Length: 4\r\n\r\ntext");
  for (const std::string start : {"POST /a1b7 ", "POST /a2b7 ", "POST /a3b7 "}) {
    CHECK(std::any_of(seen.begin(), seen.end(), [&](const std::string& s) { return s.starts_with(start); }));
  }
  const auto refused = [](std::vector<std::string> arguments) {
    try {
      load::request_source{parse_command_line(arguments), 1};
      return false;
    } catch (const load::usage_error&) {
      return true;
    }
  };
  const std::string url = "http://h/";
  CHECK(refused({}));
  for (const std::vector<std::string>& a : std::vector<std::vector<std::string>>{{"--rate"},
                                                                                 {"--rate", "0"},
                                                                                 {"--rate", "1x"},
                                                                                 {"--rate", "-1"},
                                                                                 {"--poisson"},
                                                                                 {"--duration", "0s"},
                                                                                 {"--duration", "5"},
                                                                                 {"--threads", "60"},
                                                                                 {"--ok", "77"},
                                                                                 {"https://h/"},
                                                                                 {"http://"},
                                                                                 {"http://h:x/"},
                                                                                 {"http://other/"},
                                                                                 {"--unknown"},
                                                                                 {"http://h/{1-"},
                                                                                 {"http://h/{2-1}"},
                                                                                 {"-H", "x"},
                                                                                 {"--method", "G T"}}) {
    INFO(a[0]);
    auto with_url = a;
    with_url.push_back(url);
    CHECK(refused(with_url));
  }
}
