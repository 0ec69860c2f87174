// penstock-websocket-hub: whatever one connection says, all are told. README.md beside this file says what it shows.
//
// One io_context for each thread, each with a listening socket of its own at one port (SO_REUSEPORT): the kernel divides the connections among them, and a
// connection never leaves its thread.
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <penstock/ext/reuse_port.hpp>
#include <penstock/observe/live_table.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/pool/sizing.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../common/run_program.hpp"
#include "../index/signals.hpp"
#include "descriptors.hpp"
#include "exchange.hpp"
#include "hub_thread.hpp"
#include "options.hpp"
#include "relay.hpp"

namespace {

std::unique_ptr<hub::relay> join_others(const hub::options& o) {
  if (o.redis.empty()) return nullptr;
#if defined(PENSTOCK_HUB_REDIS)
  return hub::make_redis_relay(o.redis, o.redis_channel);
#else
  throw command_line::usage_error{"this program was built without hiredis"};
#endif
}

int serve(hub::options o) {
  const std::size_t limit = hub::raise_descriptor_limit(o.connections + hub::other_descriptors);
  const std::size_t needed = hub::threads_for(o.connections, limit);
  if (o.threads == 0) o.threads = std::max<std::size_t>(penstock::available_processors(), needed);
  const bool own_tables = limit < o.connections + hub::other_descriptors;

  std::stop_source stop;
  const fulltext::stop_on_signal signals{stop};
  const penstock::reuse_port port{o.address, o.port};
  const std::unique_ptr<hub::relay> others = join_others(o);
  hub::exchange all{others ? [&others](const hub::shared_message& m) { others->tell_others(m); }
                           : std::function<void(const hub::shared_message&)>{}};
  penstock::registry seen{{.prefix = "websocket"}};
  const auto joined = seen.join("hub", all);
  const auto joined_arrivals = seen.join("arrivals", all.arrivals);
  std::vector<penstock::registry_membership> joined_others;
  if (others) joined_others.push_back(seen.join("redis", *others));

  std::deque<hub::hub_thread> threads;
  for (std::size_t i = 0; i < o.threads; ++i) threads.emplace_back(all, seen, o);
  std::jthread watching;
  if (o.watch)
    watching = std::jthread{[&](const std::stop_token& s) { penstock::live_table(seen, stderr, std::chrono::seconds{1}, s); }};

  std::exception_ptr failure;
  std::mutex failure_lock;
  {
    const std::stop_callback draining{stop.get_token(), [&] {
                                        for (hub::hub_thread& t : threads) t.drain();
                                        all.arrivals.close();
                                      }};
    penstock::wait_group listening{static_cast<std::ptrdiff_t>(threads.size())};
    std::vector<std::jthread> running;
    for (hub::hub_thread& t : threads) {
      running.emplace_back([&] {
        try {
          if (own_tables && ::unshare(CLONE_FILES) != 0) throw std::system_error{errno, std::generic_category(), "unshare"};
          t.listen(port);
          listening.done();
        } catch (...) {
          const std::scoped_lock guard{failure_lock};
          failure = std::current_exception();
          stop.request_stop();
          listening.done();
        }
        t.run();
      });
    }
    static_cast<void>(listening.wait());
    // Not before the threads have their tables, where its sockets would stay open else.
    if (others) others->start([&all](hub::shared_message m) { static_cast<void>(all.deliver(std::move(m))); });
    std::printf("ws://%s:%u/ with %zu threads%s\n", o.address.c_str(), static_cast<unsigned>(port.number()), o.threads,
                own_tables ? ", each with its own descriptors" : "");
    std::fflush(stdout);
  }
  if (others) others->stop();
  if (failure) std::rethrow_exception(failure);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return command_line::run_program("penstock-websocket-hub", hub::usage, argc, argv, [](const std::vector<std::string>& words) {
    const hub::options o = hub::parse_command_line(words);
    if (o.help) {
      std::fputs(hub::usage, stdout);
      return 0;
    }
    ::signal(SIGPIPE, SIG_IGN);
    return serve(o);
  });
}
