// The hashes that keys and nodes are routed by: frozen, for other machines rely on them.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <penstock/route/hash.hpp>

#include "support/catch.hpp"

namespace {

using penstock::hash_of;
using penstock::stable_hash;

// XXH3_64bits_withSeed() of libxxhash 0.8.1 over the bytes (131 i + 7) mod 256; one length on each side of every change of the algorithm.
struct frozen {
  std::size_t length;
  std::uint64_t unseeded;
  std::uint64_t seeded;
};
constexpr std::uint64_t the_seed = 0x9E3779B185EBCA8D;
constexpr std::array vectors{
    frozen{0, 0x2d06800538d394c2, 0xa8a6b918b2f0364a},    frozen{1, 0x4c5cca45d0f4811f, 0xfb9ffac0328029fc},
    frozen{2, 0x29c60963cbfa4e6e, 0x13326d5234b07a03},    frozen{3, 0x6e3e2670e61106ac, 0xea2313880f3cdaea},
    frozen{4, 0x5c4c63133443d03f, 0x9ed5758ad388108e},    frozen{5, 0x49f5eb3111280b63, 0x886bdaeaa658f8a9},
    frozen{8, 0xf9fd4dd0b04d78f5, 0xcda4b01376fb6fee},    frozen{9, 0x7c20df9712c26edf, 0x61e9c4f6989e2ebe},
    frozen{15, 0xb345a7b2698ba575, 0xb7e447a44f73a695},   frozen{16, 0x86abf6baccea0858, 0x002c5dbcd9e84e88},
    frozen{17, 0xb58bf5dc5022d071, 0x26c99ae8313daaf0},   frozen{32, 0xe3712ed84c04a66e, 0x8bdd66ab9a43c5d5},
    frozen{33, 0xa4dee99b093e1f73, 0x2cc4c6aa8e0db410},   frozen{64, 0x1291d2d4042330dd, 0xeb83e6b52d65e4a7},
    frozen{65, 0x97c6bf83217e5ec9, 0x39899bd3ca4bea9c},   frozen{96, 0x81296929fc063365, 0xcd21449bb6b2a410},
    frozen{97, 0xf145a45b658ab9dd, 0xda89a1aeb54d8600},   frozen{128, 0x10d17f72c0ccba41, 0x687966cb6159cbc7},
    frozen{129, 0x1648bdc3db49d1a2, 0x25b2d1a1f5780bfa},  frozen{160, 0x655c8dc33b4b4c4a, 0x015895d5ae43e028},
    frozen{161, 0xac5e44367a00d651, 0xe08a8610de2add56},  frozen{239, 0xf0d154819adb16cd, 0xa8db1a612740f74c},
    frozen{240, 0xb6cfaf343fab81e6, 0x7a689e088cdb8a88},  frozen{241, 0x956cae592c67279e, 0xd8e8bd54329068cb},
    frozen{256, 0xb15e550733c5dfac, 0x118294e480ca89c7},  frozen{511, 0x5a17da924907228a, 0x086d91ab7a0812f9},
    frozen{512, 0xa0e9790eb93990d7, 0x7f5b60d72437c460},  frozen{1023, 0xa94ffcd2254368e4, 0x908308aa61d62f3f},
    frozen{1024, 0x70bd377d9574f4bb, 0x023e2783c9ca89b7}, frozen{1025, 0x66c4487c41e127a7, 0x4183325be9472621},
    frozen{1088, 0xf43dc77e28a9acbc, 0x12de9cbb682d578e}, frozen{1089, 0x313bc7ee32bbfa2e, 0x3240f5df178d7e07},
    frozen{2048, 0x8b46caa67dab3a30, 0x07dd57f339f12e1c}, frozen{2049, 0x581cd184fd9b76c5, 0xef868002076bc345},
    frozen{2100, 0x90eda88dd7646e2e, 0xee03eaaa624138f3},
};

// How many of those with at most so many bytes differ. At compile time words are read byte by byte, which is what a machine with the other byte order
// does at run time.
constexpr std::size_t wrong_up_to(std::size_t longest) {
  std::array<std::byte, 2100> bytes{};
  for (std::size_t i = 0; i < longest; ++i) bytes[i] = static_cast<std::byte>(i * 131 + 7);
  std::size_t wrong = 0;
  for (const frozen& f : vectors) {
    if (f.length > longest) continue;
    const std::span<const std::byte> some{bytes.data(), f.length};
    wrong += stable_hash(some) != f.unseeded || stable_hash(some, the_seed) != f.seeded;
  }
  return wrong;
}
static_assert(wrong_up_to(512) == 0);

enum class colour : std::uint8_t { red = 7 };
enum class letter : char {};

struct endpoint {
  std::string host;
  std::uint16_t port;
  friend std::uint64_t penstock_hash(const endpoint& e, std::uint64_t seed) { return hash_of(e.port, hash_of(e.host, seed)); }
};

}  // namespace

TEST_CASE("stable_hash: the numbers of XXH3, which never change", "[hash]") {
  CHECK(wrong_up_to(2100) == 0);
  CHECK(stable_hash("user-42") == 0x50fe4b21cf7b09cd);
  CHECK(stable_hash("user-42", 1) == 0x89fb47d9fbcef79a);
  CHECK(stable_hash(7) == 0x81671e58d6b596af);
  CHECK(stable_hash(-7, 3) == 0x83d3c9573a85f9e0);
}

TEST_CASE("hash_of: equal values are one key, whatever their types", "[hash]") {
  static_assert(hash_of("user-42") == 0x50fe4b21cf7b09cd);  // byte by byte at compile time, by words at run time
  static_assert(stable_hash(std::string_view{"0123456789abcdefX"}) != stable_hash(std::string_view{"0123456789abcdefY"}));
  CHECK(hash_of(std::string{"user-42"}) == stable_hash("user-42"));
  CHECK(hash_of(std::string_view{"user-42"}, 5) == stable_hash("user-42", 5));
  CHECK(hash_of(std::uint8_t{7}) == hash_of(std::int64_t{7}));
  CHECK(hash_of(std::int8_t{-7}) == hash_of(-7LL));
  CHECK(hash_of(colour::red) == hash_of(7));
  // Whether char and wchar_t have a sign is the platform's choice, and must not be the mapping's.
  CHECK(hash_of(static_cast<char>(0xe9)) == hash_of(0xe9));
  CHECK(hash_of(static_cast<wchar_t>(-2)) == hash_of(static_cast<std::make_unsigned_t<wchar_t>>(-2)));
  CHECK(hash_of(letter{static_cast<char>(0xe9)}) == hash_of(0xe9));
  CHECK(hash_of(static_cast<signed char>(-23)) == hash_of(-23));
  CHECK(hash_of(penstock::ready_hash{12}, 99) == 12);
  const std::array<std::byte, 3> bytes{std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
  CHECK(hash_of(bytes) == hash_of("abc"));
  CHECK(hash_of(endpoint{"a", 80}, 1) == hash_of(80, hash_of("a", 1)));
  CHECK(hash_of(endpoint{"a", 80}) != hash_of(endpoint{"a", 81}));
}

TEST_CASE("hash_of: what has no hash that is the same everywhere is refused", "[hash]") {
  STATIC_REQUIRE(penstock::routable<int>);
  STATIC_REQUIRE(penstock::routable<const std::string&>);
  STATIC_REQUIRE(penstock::routable<const char[4]>);
  STATIC_REQUIRE(penstock::routable<endpoint>);
  STATIC_REQUIRE_FALSE(penstock::routable<double>);
  STATIC_REQUIRE_FALSE(penstock::routable<int*>);
  STATIC_REQUIRE_FALSE(penstock::routable<std::wstring>);
}
