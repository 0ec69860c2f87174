// Sessions stay with their server: by a session's name, by the client's network, when servers fail and come back, and when one is added.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <penstock/penstock.hpp>

namespace {

using namespace std::chrono_literals;
using backends = penstock::balancer<std::string, penstock::sticky, penstock::manual_clock>;

std::vector<std::string> who_serves(backends& b, int sessions) {
  std::vector<std::string> servers;
  for (int i = 0; i < sessions; ++i) servers.push_back(*b.pick("session-" + std::to_string(i)));
  return servers;
}

int moved(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  int n = 0;
  for (std::size_t i = 0; i < before.size(); ++i) n += before[i] != after[i];
  return n;
}

int failed = 0;
void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("NOT SO: %s\n", what);
  ++failed;
}

}  // namespace

int main() {
  penstock::manual_clock clock;
  backends b{{.ejection = {.consecutive_failures = 3, .duration = 30s}}, clock};
  std::vector<penstock::endpoint_id> ids;
  for (const char* name : {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"})
    ids.push_back(b.insert(name).value());

  constexpr int sessions = 10'000;
  const auto before = who_serves(b, sessions);
  std::map<std::string, int> count;
  for (const auto& server : before) ++count[server];
  for (const auto& [server, n] : count) std::printf("%s  %d sessions\n", server.c_str(), n);
  check(who_serves(b, sessions) == before, "a session goes to the same server each time");

  // A session's server fails three times: others take over, each session its own next one. After half a minute they go home.
  const std::string& broken = before[0];
  for (int i = 0; i < 3; ++i) b.pick("session-0").failure();
  const auto during = who_serves(b, sessions);
  std::printf("%s is ejected: %d sessions move, its own\n", broken.c_str(), moved(before, during));
  check(moved(before, during) == count[broken], "the sessions of the broken server move, and no other");
  clock.advance(30s);
  check(who_serves(b, sessions) == before, "and they come back");

  const auto sixth = b.insert("10.0.0.6:80");
  const auto grown = who_serves(b, sessions);
  std::printf("a sixth server takes %d of %d sessions, from all the others\n", moved(before, grown), sessions);
  check(moved(before, grown) > sessions / 6 - 300 && moved(before, grown) < sessions / 6 + 300, "a sixth, more or less");
  b.erase(*sixth);

  // By network: everybody behind one provider's gateway stays together, IPv4 or IPv6.
  const auto server_of = [&](const char* client) {
    return *b.pick(penstock::ip_address::parse(client)->network({.v4_bits = 24, .v6_bits = 56}));
  };
  check(server_of("203.0.113.7") == server_of("203.0.113.99"), "one /24, one server");
  check(server_of("::ffff:203.0.113.7") == server_of("203.0.113.99"), "also if it is written as IPv6");
  check(server_of("2001:db8:1:100::1") == server_of("2001:db8:1:1ff:a:b:c:d"), "one /56, one server");
  std::printf("203.0.113.0/24 is served by %s, 2001:db8:1:100::/56 by %s\n", server_of("203.0.113.7").c_str(),
              server_of("2001:db8:1:100::1").c_str());
  return failed;
}
