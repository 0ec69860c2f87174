#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "report.hpp"

namespace fulltext {

namespace {

using steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Calls show(elapsed seconds) at once and then at intervals, until stop is requested.
template <class Show>
void every(milliseconds interval, const std::stop_token& stop, Show show) {
  const steady::time_point began = steady::now();
  penstock::event never;
  for (penstock::deadline next = steady::now();; next = penstock::deadline::after(interval)) {
    const auto waited = never.wait({.stop = stop, .deadline = next});
    if (!waited && waited.error() == penstock::errc::cancelled) return;
    show(std::chrono::duration<double>(steady::now() - began).count());
  }
}

std::string rate(const pipeline::progress& done, double seconds) {
  return fmt::format("{} files  {}  {}/s", human_count(done.files), human_bytes(done.bytes),
                     human_bytes(static_cast<std::uint64_t>(static_cast<double>(done.bytes) / std::max(seconds, 0.001))));
}

}  // namespace

progress_display::progress_display(const pipeline& build, const build_options& options) : build_{build} {
  if (options.quiet) return;
  if (::isatty(STDERR_FILENO) != 0) {
    surveying_ = std::jthread{[this](const std::stop_token& stop) { survey(stop); }};
    showing_ = std::jthread{[this](const std::stop_token& stop) { draw_bar(stop); }};
  } else if (!options.json) {
    showing_ = std::jthread{[this](const std::stop_token& stop) { print_lines(stop); }};
  }
}

progress_display::~progress_display() {
  surveying_.request_stop();
  showing_.request_stop();
}

void progress_display::survey(const std::stop_token& stop) {
  total_ = build_.survey(stop);
  if (!stop.stop_requested()) surveyed_.set();
}

void progress_display::draw_bar(const std::stop_token& stop) {
  constexpr std::size_t width = 24;
  every(milliseconds{100}, stop, [&](double seconds) {
    const pipeline::progress done = build_.done();
    std::string head = "counting ";
    std::string tail;
    if (surveyed_.is_set()) {
      // Bytes tell more than files, but the last file counts even if it is empty.
      const double share = std::min(1.0, (static_cast<double>(done.bytes) + 1) / (static_cast<double>(total_.bytes) + 1));
      const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
      head = fmt::format("[{:#<{}}{:.<{}}] {:3.0f} %", "", filled, "", width - filled, share * 100);
      tail = fmt::format("  ETA {:.0f} s", seconds / share - seconds);
    }
    fmt::print(stderr, "\r{}  {}{}\x1b[K", head, rate(done, seconds), seconds > 0.5 ? tail : "");
    std::fflush(stderr);
  });
  fmt::print(stderr, "\r\x1b[K");  // the report takes its place
}

void progress_display::print_lines(const std::stop_token& stop) {
  every(milliseconds{2000}, stop, [&](double seconds) {
    if (seconds >= 1) fmt::print(stderr, "penstock-index: {}\n", rate(build_.done(), seconds));
  });
}

}  // namespace fulltext
