// penstock-api-server: an HTTP service over SQLite that holds under load. README.md beside this file says what it shows.
//
// main() takes the port and becomes a supervisor (ext/supervisor.hpp); each of its processes has one event loop, a backend, and a connection or three to
// the database. The listening sockets, one for each process, are the supervisor's: a process that dies, or is replaced, leaves its socket to the next one
// in its place with whoever waits there, so that no connection is refused or reset meanwhile. When all is to end the supervisor closes them, too.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include <penstock/ext/reuse_port.hpp>
#include <penstock/ext/supervisor.hpp>
#include <penstock/observe/registry.hpp>

#include "../common/run_program.hpp"
#include "backend.hpp"
#include "http_server.hpp"
#include "options.hpp"
#include "shared_stats.hpp"
#include "store.hpp"

namespace {

using event = penstock::supervisor_event;

int serve(const api::options& o, const std::vector<int>& public_listeners, const api::shared_stats& processes,
          penstock::supervised_process& self) {
  std::vector<int> listeners;
  for (std::size_t i = 0; i < public_listeners.size(); ++i) {
    if (i == self.index())
      listeners.push_back(public_listeners[i]);
    else
      ::close(public_listeners[i]);
  }
  if (o.metrics_port != 0) {
    const auto number = static_cast<std::uint16_t>(o.metrics_port + self.index());
    listeners.push_back(penstock::reuse_port{o.address, number}.listen());
  }
  penstock::registry all{{.prefix = "api"}};
  boost::asio::io_context loop{1};  // one thread runs it
  api::backend behind{o, all, loop};
  api::http_server server{
      loop, behind, listeners, {.lame_duck = o.lame_duck, .client_header = o.client_header, .traces = o.watch_waits}};
  const auto joined = all.join("server", server);
  const auto joined_too = all.join("processes", processes);
  const std::stop_callback stop{self.get_stop_token(), [&] { server.drain(); }};
  self.ready();
  server.run();
  return 0;
}

void print(const event& e) {
  const auto place = static_cast<unsigned long>(e.index);
  switch (e.what) {
    case event::kind::started:
      break;
    case event::kind::ready:
      std::fprintf(stderr, "process %lu (%d) serves\n", place, e.pid);
      break;
    case event::kind::stopping:
      std::fprintf(stderr, "process %lu (%d) is to end\n", place, e.pid);
      break;
    case event::kind::killed:
      std::fprintf(stderr, "process %lu (%d) did not do what it should in time, and was killed\n", place, e.pid);
      break;
    case event::kind::exited:
      if (WIFSIGNALED(e.status))
        std::fprintf(stderr, "process %lu (%d) ended by signal %d\n", place, e.pid, WTERMSIG(e.status));
      else
        std::fprintf(stderr, "process %lu (%d) ended with status %d\n", place, e.pid, WEXITSTATUS(e.status));
      break;
    case event::kind::restarting:
      std::fprintf(stderr, "process %lu is started again in %ld ms\n", place, static_cast<long>(e.delay.count() / 1'000'000));
      break;
    case event::kind::rolled:
      std::fprintf(stderr, "all processes were replaced\n");
      break;
    case event::kind::roll_failed:
      std::fprintf(stderr, "a new process does not serve: the others stay\n");
      break;
    case event::kind::start_failed:
      std::fprintf(stderr, "process %lu cannot be started now: %s\n", place, std::generic_category().message(e.status).c_str());
      break;
  }
}

// Closes the listening sockets when a process is to end and no other one takes its place: then all are.
class door_keeper {
 public:
  explicit door_keeper(std::vector<int> listeners) : listeners_{std::move(listeners)}, living_(listeners_.size()) {}

  void notice(const event& e) {
    if (e.what == event::kind::started) ++living_[e.index];
    if (e.what == event::kind::exited) --living_[e.index];
    if (e.what == event::kind::stopping && living_[e.index] == 1) close();
  }
  void close() noexcept {
    for (const int listener : std::exchange(listeners_, {})) ::close(listener);
  }

 private:
  std::vector<int> listeners_;
  std::vector<int> living_;  // processes in each place
};

}  // namespace

int main(int argc, char** argv) {
  return command_line::run_program("penstock-api-server", api::usage, argc, argv, [](const std::vector<std::string>& words) {
    const api::options o = api::parse_command_line(words);
    if (o.help) {
      std::fputs(api::usage, stdout);
      return 0;
    }
    ::signal(SIGPIPE, SIG_IGN);
    api::store{o.database}.fill(o.users, o.posts);
    const penstock::reuse_port port{o.address, o.port};
    std::vector<int> listeners;
    for (std::size_t i = 0; i < o.processes; ++i) listeners.push_back(port.listen());
    std::printf("http://%s:%u/ with %zu processes\n", o.address.c_str(), static_cast<unsigned>(port.number()), o.processes);
    std::fflush(stdout);
    door_keeper doors{listeners};
    api::shared_stats numbers;
    const penstock::supervisor* running = nullptr;
    penstock::supervisor all{{.processes = o.processes, .drain = o.drain, .on_event = [&](const event& e) {
                                numbers.tell(running->stats());
                                print(e);
                                doors.notice(e);
                              }}};
    running = &all;
    return all.run([&](penstock::supervised_process& self) { return serve(o, listeners, numbers, self); });
  });
}
