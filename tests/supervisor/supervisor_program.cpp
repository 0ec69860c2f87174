// Workers that tell whoever connects which process they are, for run_supervisor.py; and what the supervisor does, a line for each event.
//
//   supervisor_program FOLDER [--exec] [--threads] [--throw] [--buffered] [--helper] [--processes N] [--drain MS]
//
// An event's line: what, the worker's place, its process, its status, the delay in ms, how many are ready now.
// A worker does what FOLDER/behaviour says when it starts: ok; fail (it ends before it is ready); hang (it never is); stubborn (it does not stop).
// FOLDER/port gets the port. A client that sends "slow" is answered after 300 ms, any other at once.
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <penstock/ext/reuse_port.hpp>
#include <penstock/ext/supervisor.hpp>
#include <penstock/observe/registry.hpp>

namespace {

using namespace std::chrono_literals;
using kind = penstock::supervisor_event::kind;

std::string word(const std::string& path) {
  std::ifstream file{path};
  std::string text;
  file >> text;
  return text;
}

// One after another. What has been accepted is answered.
void answer_all(int listener, std::size_t index) {
  for (int client; (client = ::accept(listener, nullptr, nullptr)) >= 0;) {
    char text[16];
    const ::ssize_t n = ::recv(client, text, sizeof text, 0);
    if (n > 0 && std::string_view{text, static_cast<std::size_t>(n)} == "slow") std::this_thread::sleep_for(300ms);
    const std::string answer = std::to_string(::getpid()) + " " + std::to_string(index) + "\n";
    static_cast<void>(::send(client, answer.data(), answer.size(), MSG_NOSIGNAL));
    ::close(client);
  }
}

// A process of the worker's own, which executes nothing.
void start_helper() {
  const ::pid_t helper = ::fork();
  if (helper == 0)
    for (;;) static_cast<void>(::poll(nullptr, 0, -1));
  std::printf("helper 0 %d\n", helper);
  std::fflush(stdout);
}

int serve(const std::string& folder, const penstock::reuse_port& port, penstock::supervised_process& self, bool helper) {
  const std::string behaviour = word(folder + "/behaviour");
  if (helper) start_helper();
  if (behaviour == "fail") throw std::runtime_error{"it was told to fail"};
  if (behaviour == "hang") std::this_thread::sleep_for(1h);
  const int listener = port.listen();
  self.ready();
  while (behaviour == "stubborn" || !self.get_stop_token().stop_requested()) {
    ::pollfd one{.fd = listener, .events = POLLIN, .revents = 0};
    static_cast<void>(::poll(&one, 1, 10));
    answer_all(listener, self.index());
  }
  answer_all(listener, self.index());
  ::close(listener);
  std::cout << "served\n";
  return 0;
}

const char* name_of(kind k) {
  constexpr const char* names[] = {"started",    "ready",  "stopping",    "killed",      "exited",
                                   "restarting", "rolled", "roll_failed", "start_failed"};
  return names[static_cast<std::size_t>(k)];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string folder = argv[1];
  const penstock::supervisor* running = nullptr;
  penstock::supervisor_options options{.processes = 2,
                                       .drain = 2s,
                                       .start = 1s,
                                       .restart_delay = penstock::backoff::exponential(50ms, 200ms),
                                       .on_event = [&running](const penstock::supervisor_event& e) {
                                         std::printf("%s %zu %d %d %.0f %zu\n", name_of(e.what), e.index, e.pid,
                                                     e.what == kind::start_failed ? e.status
                                                     : WIFSIGNALED(e.status)      ? -WTERMSIG(e.status)
                                                                                  : WEXITSTATUS(e.status),
                                                     std::chrono::duration<double, std::milli>(e.delay).count(),
                                                     running->stats().ready);
                                         std::fflush(stdout);
                                       }};
  std::jthread thread;
  bool helper = false;
  for (int i = 2; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--exec") options.arguments = {argv, argv + argc};
    if (option == "--threads")
      thread = std::jthread{[](const std::stop_token& stop) {
        while (!stop.stop_requested()) std::this_thread::yield();
      }};
    if (option == "--buffered") {
      std::ios::sync_with_stdio(false);
      std::cout << "begun\n";
    }
    if (option == "--helper") helper = true;
    if (option == "--processes") options.processes = std::stoul(argv[++i]);
    if (option == "--throw")
      options.on_event = [](const penstock::supervisor_event& e) {
        std::printf("%s %zu %d\n", name_of(e.what), e.index, e.pid);
        std::fflush(stdout);
        if (e.what == kind::ready) throw std::runtime_error{"thrown by on_event"};
      };
    if (option == "--drain") options.drain = std::chrono::milliseconds{std::stoul(argv[++i])};
  }
  // Who is executed anew binds the port that the first one took.
  const std::string known = word(folder + "/port");
  const penstock::reuse_port port{"127.0.0.1", static_cast<std::uint16_t>(known.empty() ? 0 : std::stoi(known))};
  if (known.empty()) std::ofstream{folder + "/port"} << port.number() << "\n";
  try {
    penstock::supervisor all{std::move(options)};
    running = &all;
    const int status = all.run([&](penstock::supervised_process& self) { return serve(folder, port, self, helper); });
    penstock::registry registry;
    const auto joined = registry.join("supervisor", all);
    const penstock::registry_snapshot now = registry.snapshot();
    const penstock::component_snapshot& s = now.components.at(0);
    if (s.kind != "supervisor" || !s.error.empty()) throw std::runtime_error{"it does not describe itself: " + s.error};
    std::printf("ended %.0f %.0f %.0f %.0f %.0f %.0f\n", s.total("started_total"), s.total("restarts_total"),
                s.total("killed_total"), s.find("rolls_total", "completed")->value, s.find("rolls_total", "failed")->value,
                s.total("starts_failed_total"));
    return status;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 3;
  }
}
