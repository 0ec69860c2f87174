// penstock-websocket-load: many WebSocket connections, one of which says something that all are told.
//
//   penstock-websocket-load --connections 100000 --addresses 8 --slow 1000 ws://127.0.0.1:8090/
//
// Hubs and this program share a clock if they are on one machine; but only this program's is looked at: a message is sent here, and received here.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include <penstock/sync/semaphore.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../../common/run_program.hpp"
#include "../descriptors.hpp"
#include "crowd_thread.hpp"
#include "measurement.hpp"
#include "options.hpp"

namespace crowd {
namespace {

double seconds(std::chrono::nanoseconds t) { return std::chrono::duration<double>(t).count(); }

double at_share(const std::vector<std::int64_t>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto i = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
  return static_cast<double>(sorted[std::min(i, sorted.size() - 1)]) * 1e-9;
}

std::string numbers(const std::vector<std::int64_t>& all) {
  std::string text;
  for (const std::int64_t n : all) {
    char number[32];
    std::snprintf(number, sizeof number, "%s%.6f", text.empty() ? "" : ", ", static_cast<double>(n) * 1e-9);
    text += number;
  }
  return "[" + text + "]";
}

class program {
 public:
  explicit program(const options& o)
      : options_{o}, measurement_{o.urls.size()}, connecting_{static_cast<std::ptrdiff_t>(o.connecting)} {
    const std::size_t all = o.connections + o.slow;
    const std::size_t limit = hub::raise_descriptor_limit(all + hub::other_descriptors);
    const std::size_t needed = hub::threads_for(all, limit);
    const std::size_t count = std::max(o.threads, needed);
    for (std::size_t i = 0; i < count; ++i) threads_.emplace_back(o, measurement_, tally_, connecting_);
    for (crowd_thread& t : threads_) t.start(needed > 1);
  }

  int run() {
    connect(0, options_.connections, false);
    std::size_t readers = 0;
    for (const group& g : measurement_.groups) readers += g.readers.load(std::memory_order_acquire);
    std::printf("{\"event\": \"connected\", \"readers\": %zu, \"failed\": %zu, \"seconds\": %.3f, \"threads\": %zu}\n", readers,
                tally_.failed.load(), took_, threads_.size());
    step();
    if (readers == 0) return 1;
    bool all_told = send_all(options_.messages);
    if (options_.slow != 0) {
      connect(options_.connections, options_.connections + options_.slow, true);
      std::printf("{\"event\": \"slow\", \"connected\": %zu, \"seconds\": %.3f}\n", tally_.slow.load(), took_);
      step();
      all_told = send_all(options_.slow_messages) && all_told;
    }
    return all_told && tally_.failed.load() == 0 && tally_.lost.load() == 0 ? 0 : 1;
  }

 private:
  void step() {
    std::fflush(stdout);
    if (options_.step) static_cast<void>(std::getchar());
  }

  void connect(std::size_t from, std::size_t to, bool slow) {
    const auto begun = clock_type::now();
    penstock::wait_group done{static_cast<std::ptrdiff_t>(threads_.size())};
    for (std::size_t i = 0; i < threads_.size(); ++i) threads_[i].connect(from + i, threads_.size(), to, slow, done);
    static_cast<void>(done.wait());
    took_ = seconds(clock_type::now() - begun);
  }

  bool send_all(std::size_t messages) {
    std::vector<penstock::histogram::snapshot_type> before;
    for (group& g : measurement_.groups) {
      g.to_all.clear();
      before.push_back(g.each.snapshot());
    }
    // There is one, for there are readers.
    crowd_thread& speaker =
        *std::find_if(threads_.begin(), threads_.end(), [](const crowd_thread& t) { return t.has_connections(); });
    std::size_t told = 0;
    for (; told < messages; ++told) {
      if (told != 0) std::this_thread::sleep_for(options_.interval);
      speaker.say(measurement_.begin(options_.size));
      if (!measurement_.wait(options_.timeout)) break;
    }
    std::printf(
        "{\"event\": \"messages\", \"messages\": %zu, \"told_all\": %zu, \"lost\": %zu, \"slow\": %zu, \"dropped\": %zu, "
        "\"hubs\": [",
        messages, told, tally_.lost.load(), tally_.slow.load(), tally_.dropped.load());
    for (std::size_t i = 0; i < before.size(); ++i) {
      group& g = measurement_.groups[i];
      const auto each = g.each.snapshot().since(before[i]);
      std::vector<std::int64_t> sorted = g.to_all;
      std::sort(sorted.begin(), sorted.end());
      std::printf(
          "%s{\"readers\": %zu, \"delivered\": %llu, \"each\": {\"p50\": %.6f, \"p90\": %.6f, \"p99\": %.6f, \"max\": %.6f}, "
          "\"to_all\": {\"p50\": %.6f, \"p99\": %.6f, \"max\": %.6f}, \"to_all_seconds\": %s}",
          i == 0 ? "" : ", ", g.readers.load(), static_cast<unsigned long long>(each.count()),
          static_cast<double>(each.quantile(0.5)) * 1e-9, static_cast<double>(each.quantile(0.9)) * 1e-9,
          static_cast<double>(each.quantile(0.99)) * 1e-9, static_cast<double>(each.max()) * 1e-9, at_share(sorted, 0.5),
          at_share(sorted, 0.99), at_share(sorted, 1), numbers(g.to_all).c_str());
    }
    std::printf("]}\n");
    step();
    return told == messages;
  }

  const options& options_;
  measurement measurement_;
  tally tally_;
  penstock::semaphore connecting_;
  std::deque<crowd_thread> threads_;
  double took_ = 0;
};

}  // namespace
}  // namespace crowd

int main(int argc, char** argv) {
  return command_line::run_program("penstock-websocket-load", crowd::usage, argc, argv,
                                   [](const std::vector<std::string>& words) {
                                     const crowd::options o = crowd::parse_command_line(words);
                                     if (o.help) {
                                       std::fputs(crowd::usage, stdout);
                                       return 0;
                                     }
                                     return crowd::program{o}.run();
                                   });
}
