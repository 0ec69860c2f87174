#include "request.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <system_error>
#include <utility>

namespace load {

namespace {

bool names(const std::string& header, std::string_view name) {
  return header.size() > name.size() && header[name.size()] == ':' &&
         std::equal(name.begin(), name.end(), header.begin(),
                    [](char a, char b) { return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b))); });
}
bool has(const std::vector<std::string>& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [name](const std::string& h) { return names(h, name); });
}

std::string after_the_path(const options& o, const url& u) {
  std::string text = " HTTP/1.1\r\n";
  if (!has(o.headers, "host")) text += "Host: " + u.host + (u.port == "80" ? "" : ":" + u.port) + "\r\n";
  if (!has(o.headers, "user-agent")) text += "User-Agent: penstock-load\r\n";
  for (const std::string& h : o.headers) text += h + "\r\n";
  if ((!o.body.empty() || (o.method != "GET" && o.method != "HEAD")) && !has(o.headers, "content-length"))
    text += "Content-Length: " + std::to_string(o.body.size()) + "\r\n";
  return text + "\r\n" + o.body;
}

}  // namespace

request_source::request_source(const options& o, std::uint64_t seed) : head_{o.method == "HEAD"}, random_{seed} {
  for (const url& u : o.urls) {
    pattern p;
    std::string literal = o.method + " ";
    std::string_view path = u.path;
    for (std::size_t open; (open = path.find('{')) != std::string_view::npos;) {
      const std::size_t close = path.find('}', open);
      if (close == std::string_view::npos) throw usage_error{std::string{path} + ": { without }"};
      literal += path.substr(0, open);
      const char* const end = path.data() + close;
      drawn d{.before = std::exchange(literal, {})};
      const auto first = std::from_chars(path.data() + open + 1, end, d.from);
      const bool dash = first.ec == std::errc{} && first.ptr != end && *first.ptr == '-';
      const auto second = dash ? std::from_chars(first.ptr + 1, end, d.to) : first;
      if (!dash || second.ec != std::errc{} || second.ptr != end || d.to < d.from || d.to == ~std::uint64_t{0})
        throw usage_error{std::string{path.substr(open, close + 1 - open)} + " is no {FROM-TO}"};
      p.numbers.push_back(std::move(d));
      path.remove_prefix(close + 1);
    }
    p.rest = literal + std::string{path} + after_the_path(o, u);
    patterns_.push_back(std::move(p));
  }
}

std::string_view request_source::next() {
  const pattern& p = patterns_[turn_];
  turn_ = turn_ + 1 == patterns_.size() ? 0 : turn_ + 1;
  if (p.numbers.empty()) return p.rest;
  rendered_.clear();
  for (const drawn& d : p.numbers) {
    rendered_ += d.before;
    char digits[20];
    const std::uint64_t n = d.from + random_() % (d.to - d.from + 1);
    rendered_.append(digits, std::to_chars(digits, digits + sizeof digits, n).ptr);
  }
  return rendered_ += p.rest;
}

}  // namespace load
