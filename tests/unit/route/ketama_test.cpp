// ketama_ring against the answers of the programs whose rings it repeats.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <penstock/route/detail/md5.hpp>
#include <penstock/route/ketama.hpp>

#include "support/catch.hpp"

namespace {

using penstock::ketama_mode;
using penstock::ketama_ring;

// ketama_fixtures.js says what stands in a line.
constexpr std::array<std::string_view, 26> fixtures{
#include "ketama_fixtures.inc"
};

std::string hex(const penstock::detail::md5::digest& d) {
  std::string text;
  for (const unsigned byte : d) {
    text += "0123456789abcdef"[byte / 16];
    text += "0123456789abcdef"[byte % 16];
  }
  return text;
}

struct replayed {
  ketama_ring ring;
  std::vector<std::string> names;  // in the order in which they first came
};

replayed replay(std::istringstream scenario) {
  std::string mode;
  std::uint32_t labels = 0;
  std::uint32_t points = 0;
  scenario >> mode >> labels >> points;
  replayed r{ketama_ring{{mode == "hashring" ? ketama_mode::hashring : ketama_mode::uhashring, labels, points}}, {}};
  for (std::string step; scenario >> step;) {
    const std::string name = step.substr(1, step.find('=') - 1);
    if (step[0] == '-') {
      r.ring.erase(name);
      continue;
    }
    r.ring.insert(name, std::stod(step.substr(step.find('=') + 1)));
    if (std::find(r.names.begin(), r.names.end(), name) == r.names.end()) r.names.push_back(name);
  }
  return r;
}

}  // namespace

TEST_CASE("md5: the test suite of RFC 1321", "[ketama]") {
  using penstock::detail::md5;
  CHECK(hex(md5::of("")) == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(hex(md5::of("message digest")) == "f96b697d7cb7938d525a2f31aaf161d0");
  CHECK(hex(md5::of("abcdefghijklmnopqrstuvwxyz")) == "c3fcd3d76192e4007dfb496cca67e13b");
  CHECK(hex(md5::of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")) == "d174ab98d277d9f5a5611c2c9f419d9f");
  CHECK(hex(md5::of("12345678901234567890123456789012345678901234567890123456789012345678901234567890")) ==
        "57edf4a22be3c955ac49da2e2107b67a");
}

TEST_CASE("ketama_ring: each key where hashring and uhashring have it, with weights, removals and points that two nodes share",
          "[ketama]") {
  for (const std::string_view fixture : fixtures) {
    const std::size_t first = fixture.find('|');
    const std::size_t second = fixture.find('|', first + 1);
    const replayed r = replay(std::istringstream{std::string{fixture.substr(0, first)}});
    INFO(fixture.substr(0, first));
    CHECK(std::to_string(r.ring.points()) == fixture.substr(first + 1, second - first - 1));
    std::vector<std::string> keys;
    for (int i = 0; i < 1200; ++i) keys.push_back("key-" + std::to_string(i));
    for (const std::string& name : r.names) keys.insert(keys.end(), {name + "-0", name + "-1"});
    const std::string_view answers = fixture.substr(second + 1);
    REQUIRE(answers.size() == keys.size());
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < keys.size(); ++k) {
      const auto letter = static_cast<std::size_t>(answers[k]);
      const std::size_t node = letter - (letter < 34 ? 33 : letter < 92 ? 34 : 35);
      const std::string* const found = r.ring.find(keys[k]);
      wrong += found != nullptr && *found == r.names.at(node) ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("ketama_ring: 7 equal nodes have 39 labels in hashring and 40 in uhashring, and weight 0 is 1 or none", "[ketama]") {
  std::vector<penstock::ketama_node> seven;
  for (int i = 0; i < 7; ++i) seven.push_back({std::to_string(i) + ":1", 1});
  ketama_ring hashring;
  ketama_ring uhashring{{.mode = ketama_mode::uhashring}};
  hashring.assign(seven);
  uhashring.assign(seven);
  CHECK(hashring.points() == 1092);
  CHECK(uhashring.points() == 1120);
  CHECK(uhashring.reweight("3:1", 0));
  for (const std::string* name : uhashring.find_n("key", 7)) CHECK(*name != "3:1");
  CHECK(uhashring.find_n("key", 7).size() == 6);
  CHECK(*uhashring.find_n("key", 2)[0] == *uhashring.find("key"));
  CHECK(hashring.reweight("3:1", 0));
  CHECK(hashring.points() == 1092);
  ketama_ring none{{.mode = ketama_mode::uhashring}};
  CHECK(none.find("key") == nullptr);
  CHECK(none.insert("a", 0));
  CHECK(none.find("key") == nullptr);
}

TEST_CASE("ketama_ring: duplicates, unknown names, and weights that the programs fail on", "[ketama]") {
  ketama_ring ring{{.mode = ketama_mode::uhashring}};
  CHECK(ring.insert("a"));
  CHECK_FALSE(ring.insert("a", 5));
  CHECK_FALSE(ring.erase("b"));
  CHECK_FALSE(ring.reweight("b", 1));
  const ketama_ring before = ring;
  CHECK_THROWS_AS(ring.insert("b", -1), std::invalid_argument);
  CHECK_THROWS_AS(ring.insert("b", 1.5), std::invalid_argument);
  CHECK_THROWS_AS(ring.reweight("a", std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
  CHECK_THROWS_AS(ring.assign({{"b", 1}, {"c", 2}, {"b", 3}}), std::invalid_argument);
  CHECK_THROWS_AS(ketama_ring{{.labels = 0}}, std::invalid_argument);
  CHECK_THROWS_AS(ketama_ring{{.points_per_label = 5}}, std::invalid_argument);
  CHECK(ring == before);
  CHECK(ring.erase("a"));
  CHECK((ring.empty() && ring.points() == 0));
}
