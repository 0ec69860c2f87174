// The same fleet under each placement: how even the shares are, and what moves when one server comes and one goes. docs/placement.md says which to
// take.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <penstock/route/anchor_hash.hpp>
#include <penstock/route/balancer.hpp>
#include <penstock/route/hash_ring.hpp>
#include <penstock/route/jump.hpp>
#include <penstock/route/maglev.hpp>
#include <penstock/route/placement.hpp>
#include <penstock/route/rendezvous.hpp>
#include <penstock/route/sticky.hpp>

namespace {

constexpr int keys = 50'000;
constexpr int servers = 50;
int failed = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("NOT SO: %s\n", what);
  ++failed;
}

std::string server(int i) { return "10.0.0." + std::to_string(i) + ":80"; }

std::vector<std::string> owners(const auto& placement) {
  std::vector<std::string> all;
  for (int key = 0; key < keys; ++key) all.push_back(*placement.find(key));
  return all;
}

struct outcome {
  double peak = 0;     // the keys of the server with most, of the average
  double added = 0;    // keys that moved when one came, as a multiple of its share
  double removed = 0;  // the same when one went
};

// Whatever is a placement will do.
template <penstock::placement Placement>
outcome try_out(const char* name, Placement p) {
  for (int i = 0; i < servers; ++i) p.insert(server(i));
  const auto before = owners(p);
  std::map<std::string, int> load;
  for (const auto& owner : before) ++load[owner];
  outcome o;
  for (const auto& [owner, n] : load) o.peak = std::max(o.peak, static_cast<double>(n) * servers / keys);

  const auto moved = [](const auto& from, const auto& to, const std::string& one) {
    double all = 0, must = 0;
    for (std::size_t i = 0; i < from.size(); ++i) {
      all += from[i] != to[i];
      must += from[i] == one || to[i] == one;
    }
    return all / must;
  };
  p.insert(server(servers));
  const auto with = owners(p);
  o.added = moved(before, with, server(servers));
  p.erase(server(7));
  o.removed = moved(with, owners(p), server(7));
  std::printf("%-12s  the fullest server has %.2f of the average; moved when one comes %.2f, when one goes %.2f of what must\n",
              name, o.peak, o.added, o.removed);
  return o;
}

}  // namespace

int main() {
  const outcome ring = try_out("hash_ring", penstock::hash_ring<std::string>{});
  const outcome rendezvous = try_out("rendezvous", penstock::rendezvous<std::string>{});
  const outcome maglev = try_out("maglev", penstock::maglev<std::string>{});
  const outcome anchor = try_out("anchor_hash", penstock::anchor_hash<std::string>{{.capacity = 128}});
  const outcome jump = try_out("jump", penstock::jump<std::string>{});
  for (const outcome& o : {ring, rendezvous, anchor}) {
    check(o.added == 1 && o.removed == 1, "the ring, rendezvous and anchor_hash move only what must");
  }
  check(rendezvous.peak < 1.12 && anchor.peak < 1.12 && jump.peak < 1.12 && maglev.peak < 1.12,
        "all but the ring are as even as chance");
  check(ring.peak > rendezvous.peak, "the ring's shares scatter more");
  check(jump.added == 1 && jump.removed > 1.5, "jump moves two servers' keys when one goes that is not the last");
  check(maglev.added > 1 && maglev.added < 2, "maglev moves a few keys more than it must");

  // A balancer's sticky policy is rendezvous over the endpoints' names: both send a key to the same server.
  penstock::balancer<std::string, penstock::sticky> balancer;
  penstock::rendezvous<std::string> same;
  for (int i = 0; i < servers; ++i) {
    check(balancer.insert(server(i), {.weight = 1.0 + i % 3}).has_value(), "room for all");
    same.insert(server(i), {.weight = 1.0 + i % 3});
  }
  int differ = 0;
  for (int key = 0; key < 1000; ++key) differ += *balancer.pick(key) != *same.find(key);
  check(differ == 0, "sticky and rendezvous agree");
  return failed;
}
