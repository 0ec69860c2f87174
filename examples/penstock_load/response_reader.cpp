#include "response_reader.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>

namespace load {

namespace {

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// `word` is in lower case.
bool is(std::string_view text, std::string_view word) noexcept {
  return text.size() == word.size() &&
         std::equal(text.begin(), text.end(), word.begin(), [](char a, char b) { return lower(a) == b; });
}

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") + 1 - first);
}

/// Whether a list of words that are separated by commas has this one.
bool lists(std::string_view list, std::string_view word) noexcept {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (is(trimmed(list.substr(0, comma)), word)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

std::size_t response_reader::feed(std::string_view data) {
  const std::size_t all = data.size();
  while (!data.empty() && state_ != state::done && state_ != state::broken) {
    std::size_t taken = 0;
    switch (state_) {
      case state::head:
        taken = feed_head(data);
        break;
      case state::counted:
      case state::chunk:
        taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, data.size()));
        left_ -= taken;
        if (left_ == 0) state_ = state_ == state::counted ? state::done : state::chunk_end;
        break;
      case state::chunk_size:
      case state::chunk_extension:
        taken = feed_chunk_size(data);
        break;
      case state::chunk_end:
      case state::trailer:
        taken = feed_line_end(data);
        break;
      default:
        taken = data.size();  // until_close
    }
    data.remove_prefix(taken);
  }
  return all - data.size();
}

bool response_reader::end() noexcept {
  if (state_ == state::until_close) state_ = state::done;
  return done();
}

std::size_t response_reader::feed_head(std::string_view data) {
  constexpr std::string_view end_of_head = "\r\n\r\n";
  if (head_.empty()) {
    const std::size_t end = data.find(end_of_head);
    if (end != std::string_view::npos) {
      if (!understand(data.substr(0, end + 2))) state_ = state::broken;
      return end + end_of_head.size();
    }
  }
  const std::size_t before = head_.size();
  head_.append(data);
  const std::size_t end = head_.find(end_of_head, before < 3 ? 0 : before - 3);
  if (end == std::string::npos) {
    if (head_.size() > longest_head) state_ = state::broken;
    return data.size();
  }
  const std::string head = std::move(head_);
  head_.clear();
  if (!understand(std::string_view{head}.substr(0, end + 2))) state_ = state::broken;
  return end + end_of_head.size() - before;
}

// One or more hexadecimal digits; whatever else is on the line is an extension.
std::size_t response_reader::feed_chunk_size(std::string_view data) noexcept {
  for (std::size_t i = 0; i < data.size(); ++i) {
    const char c = lower(data[i]);
    if (c == '\n') {
      if (digits_ == 0) return state_ = state::broken, i;
      state_ = left_ == 0 ? state::trailer : state::chunk;
      digits_ = 0;
      line_is_empty_ = true;
      return i + 1;
    }
    if (state_ == state::chunk_extension) continue;
    const bool decimal = c >= '0' && c <= '9';
    if (decimal || (c >= 'a' && c <= 'f')) {
      if (++digits_ > 15) return state_ = state::broken, i;
      left_ = left_ * 16 + static_cast<unsigned>(decimal ? c - '0' : c - 'a' + 10);
    } else if (digits_ != 0 && (c == ';' || c == '\r' || c == ' ' || c == '\t')) {
      state_ = state::chunk_extension;
    } else {
      return state_ = state::broken, i;
    }
  }
  return data.size();
}

// What ends a chunk is an empty line, and what ends the trailer is its first empty one.
std::size_t response_reader::feed_line_end(std::string_view data) noexcept {
  for (std::size_t i = 0; i < data.size(); ++i) {
    if (data[i] == '\n') {
      if (state_ == state::chunk_end) {
        state_ = state::chunk_size;
        left_ = 0;
        return i + 1;
      }
      if (line_is_empty_) return state_ = state::done, i + 1;
      line_is_empty_ = true;
    } else if (data[i] != '\r') {
      if (state_ == state::chunk_end) return state_ = state::broken, i;
      line_is_empty_ = false;
    }
  }
  return data.size();
}

bool response_reader::understand(std::string_view head) {
  // HTTP/1.1 200 OK
  if (!head.starts_with("HTTP/1.") || head.size() < 13 || head[8] != ' ') return false;
  const auto [end, error] = std::from_chars(head.data() + 9, head.data() + 12, status_);
  if (error != std::errc{} || end != head.data() + 12 || status_ < 100 || status_ > 599) return false;
  keeps_alive_ = head[7] != '0';
  chunked_ = has_length_ = false;
  left_ = 0;
  for (head.remove_prefix(head.find("\r\n") + 2); !head.empty();) {
    const std::size_t line_end = head.find("\r\n");
    const std::string_view line = head.substr(0, line_end);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !understand_field(line.substr(0, colon), trimmed(line.substr(colon + 1))))
      return false;
    head.remove_prefix(line_end + 2);
  }
  begin_body();
  return true;
}

bool response_reader::understand_field(std::string_view name, std::string_view value) {
  if (is(name, "content-length")) {
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
    if (error != std::errc{} || end != value.data() + value.size() || (has_length_ && length != left_)) return false;
    has_length_ = true;
    left_ = length;
  } else if (is(name, "transfer-encoding")) {
    chunked_ = is(trimmed(value.substr(value.rfind(',') + 1)), "chunked");  // npos + 1: all of it
    if (!chunked_) keeps_alive_ = false;
  } else if (is(name, "connection")) {
    if (lists(value, "close"))
      keeps_alive_ = false;
    else if (lists(value, "keep-alive"))
      keeps_alive_ = true;
  }
  return true;
}

// RFC 9112, section 6.3.
void response_reader::begin_body() noexcept {
  if (status_ < 200 && status_ != 101) return;  // another head follows: the state stays
  if (status_ < 200) {
    state_ = state::broken;  // nobody asked for another protocol
  } else if (without_body_ || status_ == 204 || status_ == 304) {
    state_ = state::done;
  } else if (chunked_) {
    state_ = state::chunk_size;
    left_ = 0;
    digits_ = 0;
  } else if (has_length_) {
    state_ = left_ == 0 ? state::done : state::counted;
  } else {
    state_ = state::until_close;
    keeps_alive_ = false;
  }
}

}  // namespace load
