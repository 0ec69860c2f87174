#include "options.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>

namespace load {

const char* const usage =
    R"(penstock-load: asks a web server for answers, and tells how long they take

  penstock-load --rate 1000 [options] URL...           open loop: so many requests a second, whether answers come or not
  penstock-load [options] URL...                       closed loop: each connection sends its next request when it has its answer

  A URL is http://HOST[:PORT][/PATH]. Several, of one server, are taken in turn; a number is drawn for each {FROM-TO} in a path.

  Load
    --rate RATES         of the open loop, a second: 1000; from one to another: 1000:5000; steps of the same length: 1000,2000,4000:8000
    --poisson            at random, as independent users would; without it, evenly
    --seed N             the same requests at the same times; default 1
    --connections N      at the most; default 50. What finds none free is queued, and its latency begins when it was meant to start
    --queue N            that so many are queued at the most; default 1000000. What comes then fails ("overflow")
    --duration TIME      default 10s
    --warm-up TIME       before that, at the first rate; counts for nothing; default 0s
    --threads N          default 1
  Requests
    --method NAME        default GET
    --header 'NAME: VALUE'
    --body TEXT, --body-file FILE
    --timeout TIME       from the intended start; default 10s
  Result
    --json               for programs; times in seconds
    --quiet              no row for each second on standard error
    --ok STATUSES        that are no errors although they are 400 or more: 429,503
    --max-p99 TIME, --max-errors SHARE (as 1% or 0.01), --min-rate N     or else the exit status is 1
    --dry-run            prints the intended starts of the open loop, in seconds, and sends nothing

  A TIME is a number and us, ms, s, m or h. An interrupt (Ctrl-C) ends the run and reports; a second one ends the program.
  Exit status: 0 done, 1 a limit was exceeded, 2 error, 130 interrupted.
)";

namespace {

using command_line::argument_reader;

/// 1000,2000:4000
std::vector<rate_step> rates(argument_reader& a) {
  std::vector<rate_step> steps;
  for (const std::string& step : a.values()) {
    const std::size_t colon = step.find(':');
    rate_step s{.from = a.as_real(std::string_view{step}.substr(0, colon))};
    s.to = colon == std::string::npos ? s.from : a.as_real(std::string_view{step}.substr(colon + 1));
    steps.push_back(s);
  }
  if (steps.size() > 100) throw usage_error{a.name() + ": more than 100 steps"};
  if (std::all_of(steps.begin(), steps.end(), [](const rate_step& s) { return s.from + s.to == 0; }))
    throw usage_error{a.name() + ": no requests at all"};
  return steps;
}

url parse_url(const std::string& text) {
  constexpr std::string_view scheme = "http://";
  if (text.starts_with("https://")) throw usage_error{text + ": HTTPS is not spoken here"};
  if (!text.starts_with(scheme)) throw usage_error{text + " is no option and no http://HOST[:PORT][/PATH]"};
  std::string rest = text.substr(scheme.size());
  if (std::any_of(rest.begin(), rest.end(), [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }))
    throw usage_error{text + ": a URL has no spaces"};
  rest.erase(std::min(rest.find('#'), rest.size()));
  url u;
  if (const std::size_t path = rest.find_first_of("/?"); path != std::string::npos) {
    u.path = (rest[path] == '?' ? "/" : "") + rest.substr(path);
    rest.resize(path);
  }
  const std::size_t bracket = rest.find(']');  // [::1]:8080
  const std::size_t colon = rest.find(':', bracket == std::string::npos ? 0 : bracket);
  u.host = rest.substr(0, colon);
  if (colon != std::string::npos) u.port = rest.substr(colon + 1);
  if (u.host.empty() || u.port.empty() ||
      !std::all_of(u.port.begin(), u.port.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
    throw usage_error{text + " is no http://HOST[:PORT][/PATH]"};
  return u;
}

std::string contents_of(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) throw usage_error{"--body-file: " + path + " cannot be read"};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

void accept(argument_reader& a, options& o) {
  for (const std::string& status : a.values()) o.accepted[a.as_number(status, 200, 599)] = true;
}

bool take(argument_reader& a, options& o) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  if (a.is("--rate"))
    o.open_loop = true, o.steps = rates(a);
  else if (a.is("--poisson"))
    o.how = spacing::poisson;
  else if (a.is("--seed"))
    o.seed = a.number<std::uint64_t>(0, most);
  else if (a.is("--connections") || a.is("-c"))
    o.connections = a.number(1, 1'000'000);
  else if (a.is("--queue"))
    o.most_queued = a.number(0, 1'000'000'000);
  else if (a.is("--duration") || a.is("-d"))
    o.duration = a.time();
  else if (a.is("--warm-up"))
    o.warm_up = a.time();
  else if (a.is("--threads") || a.is("-t"))
    o.threads = a.number(1, 1024);
  else if (a.is("--method"))
    o.method = a.value();
  else if (a.is("--header") || a.is("-H"))
    o.headers.push_back(a.value());
  else if (a.is("--body"))
    o.body = a.value();
  else if (a.is("--body-file"))
    o.body = contents_of(a.value());
  else if (a.is("--timeout"))
    o.timeout = a.time();
  else if (a.is("--ok"))
    accept(a, o);
  else if (a.is("--max-p99"))
    o.most_p99 = a.time();
  else if (a.is("--max-errors"))
    o.most_errors = a.share();
  else if (a.is("--min-rate"))
    o.least_rate = a.as_real(a.value());
  else if (a.is("--json"))
    o.json = true;
  else if (a.is("--quiet"))
    o.live = false;
  else if (a.is("--dry-run"))
    o.dry_run = true;
  else
    return false;
  return true;
}

void settle(options& o) {
  if (o.urls.empty()) throw usage_error{"a URL is missing"};
  for (const url& u : o.urls) {
    if (u.host != o.urls[0].host || u.port != o.urls[0].port) throw usage_error{"all URLs must be of one server"};
  }
  if (o.duration <= std::chrono::nanoseconds{0}) throw usage_error{"--duration: no time at all"};
  if (o.timeout <= std::chrono::nanoseconds{0}) throw usage_error{"--timeout: no time at all"};
  if (o.threads > o.connections) throw usage_error{"--threads: more than connections"};
  if (!o.open_loop && (o.how == spacing::poisson || o.dry_run)) throw usage_error{"--poisson and --dry-run need a --rate"};
  for (const std::string& h : o.headers) {
    if (h.find(':') == std::string::npos || h.find_first_of("\r\n") != std::string::npos)
      throw usage_error{"--header: " + h + " is no NAME: VALUE"};
  }
  if (o.method.empty() || !std::all_of(o.method.begin(), o.method.end(), [](unsigned char c) { return std::isalpha(c) != 0; }))
    throw usage_error{"--method: " + o.method + " is none"};
  if (o.steps.empty()) o.steps.resize(1);
  for (rate_step& s : o.steps) s.length = o.duration / static_cast<std::int64_t>(o.steps.size());
  for (std::size_t status = 200; status < 400; ++status) o.accepted[status] = true;
}

}  // namespace

options parse_command_line(const std::vector<std::string>& arguments) {
  options o;
  argument_reader a{arguments};
  while (a.next()) {
    if (a.asks_for_help()) {
      o.help = true;
      return o;
    }
    if (!take(a, o)) o.urls.push_back(parse_url(a.name()));
  }
  settle(o);
  return o;
}

}  // namespace load
