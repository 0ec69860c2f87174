// penstock/route/ip_address.hpp: a client's address, or the network that it is in, as a key.
//
//   if (const auto client = penstock::ip_address::parse("2001:db8::1")) {
//     auto lease = backends.pick(client->network());                  // everybody in 2001:db8::/64 goes to one endpoint
//     auto exact = backends.pick(client->network({.v6_bits = 128}));
//   }
//
// A client of IPv6 changes the lower half of its address at will, one of IPv4 may go out by several addresses of a provider: so the network is the
// key. The defaults are 24 bits of an IPv4 address and 64 of an IPv6 address.
//
// Invariants     an IPv4 address and the IPv6 address that stands for it (::ffff:a.b.c.d, RFC 4291 2.5.5.2) are the same.
// Thread safety  a value. constexpr, and no allocation.
// Source         the texts of RFC 4291 2.2 and, for IPv4, four decimal numbers (none with a leading zero, which some take for octal: RFC 6943 3.1.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string_view>

#include <penstock/core/detail/dependent.hpp>
#include <penstock/route/hash.hpp>

namespace penstock::inline v0_1 {

/// How many bits of an address are its network's.
struct ip_prefix {
  unsigned v4_bits = 24;  ///< 0 to 32
  unsigned v6_bits = 64;  ///< 0 to 128
};

class ip_address {
 public:
  using bytes_type = std::array<std::uint8_t, 16>;

  /// 0.0.0.0.
  constexpr ip_address() noexcept : ip_address{std::uint32_t{0}} {}
  /// An IPv4 address as a number: 127.0.0.1 is 0x7f000001.
  constexpr explicit ip_address(std::uint32_t v4) noexcept : bytes_{} {
    bytes_[10] = bytes_[11] = 0xff;
    for (unsigned i = 0; i < 4; ++i) bytes_[12 + i] = static_cast<std::uint8_t>(v4 >> (24 - 8 * i));
  }
  /// An IPv6 address in network order, as in_addr6 has it.
  constexpr explicit ip_address(const bytes_type& v6) noexcept : bytes_{v6} {}

  /// "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0" (what follows % is not looked at). Nothing if the text is none of these: no
  /// port, brackets, prefix or white space belongs to it.
  template <class Address = ip_address>
  [[nodiscard]] static constexpr std::optional<Address> parse(std::string_view text) noexcept {
    if (text.find(':') == std::string_view::npos) {
      const auto v4 = parse_v4<Address>(text);
      return v4 ? std::optional{ip_address{*v4}} : std::nullopt;
    }
    if (const std::size_t zone = text.find('%'); zone != std::string_view::npos) {
      if (zone + 1 == text.size()) return std::nullopt;
      text = text.substr(0, zone);
    }
    return parse_v6<Address>(text);
  }

  [[nodiscard]] constexpr bool is_v4() const noexcept {
    for (unsigned i = 0; i < 10; ++i) {
      if (bytes_[i] != 0) return false;
    }
    return bytes_[10] == 0xff && bytes_[11] == 0xff;
  }
  /// Sixteen bytes in network order.
  [[nodiscard]] constexpr const bytes_type& bytes() const noexcept { return bytes_; }

  /// The first address of the network. Throws std::invalid_argument if there are not so many bits.
  [[nodiscard]] constexpr ip_address network(ip_prefix prefix = {}) const {
    if (prefix.v4_bits > 32) throw std::invalid_argument{"penstock::ip_address: v4_bits must be 0 to 32"};
    if (prefix.v6_bits > 128) throw std::invalid_argument{"penstock::ip_address: v6_bits must be 0 to 128"};
    const unsigned kept = is_v4() ? 96 + prefix.v4_bits : prefix.v6_bits;
    ip_address result = *this;
    for (unsigned i = 0; i < 16; ++i) {
      const unsigned here = kept <= 8 * i ? 0 : kept - 8 * i;
      if (here < 8) result.bytes_[i] = static_cast<std::uint8_t>(result.bytes_[i] & (0xff00U >> here));
    }
    return result;
  }

  friend constexpr bool operator==(const ip_address&, const ip_address&) noexcept = default;
  friend constexpr std::uint64_t penstock_hash(const ip_address& a, std::uint64_t seed) noexcept {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    for (unsigned i = 0; i < 8; ++i) {
      high = high << 8 | a.bytes_[i];
      low = low << 8 | a.bytes_[8 + i];
    }
    seed = detail::xxh3_hash(high, seed);
    seed = detail::xxh3_hash(low, seed);
    return seed;
  }

 private:
  template <class Address>
  static constexpr std::optional<detail::dependent<std::uint32_t, Address>> parse_v4(std::string_view text) noexcept {
    std::uint32_t address = 0;
    for (int part = 0; part < 4; ++part) {
      if (part > 0) {
        if (text.empty() || text.front() != '.') return std::nullopt;
        text.remove_prefix(1);
      }
      unsigned number = 0;
      std::size_t digits = 0;
      for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
        if (digits > 0 && number == 0) return std::nullopt;
        number = number * 10 + static_cast<unsigned>(text[digits] - '0');
        if (number > 255) return std::nullopt;
      }
      if (digits == 0) return std::nullopt;
      text.remove_prefix(digits);
      address = address << 8 | number;
    }
    return text.empty() ? std::optional{address} : std::nullopt;
  }

  template <class Address>
  static constexpr std::optional<Address> parse_v6(std::string_view text) noexcept {
    std::array<std::uint16_t, 8> groups{};
    std::size_t n = 0;
    std::optional<detail::dependent<std::size_t, Address>> gap;  // where :: stands
    const auto take_gap = [&]() noexcept {
      if (!text.starts_with("::")) return false;
      text.remove_prefix(2);
      gap = n;
      return true;
    };
    take_gap();
    while (!text.empty()) {
      if (n == 8) return std::nullopt;
      if (text.find(':') == std::string_view::npos && text.find('.') != std::string_view::npos) {
        const auto v4 = parse_v4<Address>(text);
        if (!v4 || n > 6) return std::nullopt;
        groups[n++] = static_cast<std::uint16_t>(*v4 >> 16);
        groups[n++] = static_cast<std::uint16_t>(*v4);
        break;
      }
      unsigned group = 0;
      std::size_t digits = 0;
      for (; digits < text.size(); ++digits) {
        const int digit = hexadecimal(text[digits]);
        if (digit < 0) break;
        if (digits == 4) return std::nullopt;
        group = group << 4 | static_cast<unsigned>(digit);
      }
      if (digits == 0) return std::nullopt;
      groups[n++] = static_cast<std::uint16_t>(group);
      text.remove_prefix(digits);
      if (text.empty()) break;
      if (!gap && take_gap()) continue;
      if (text.size() < 2 || text.front() != ':') return std::nullopt;
      text.remove_prefix(1);
    }
    if (gap ? n > 7 : n != 8) return std::nullopt;
    bytes_type bytes{};
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t at = gap && i >= *gap ? 8 - n + i : i;
      bytes[2 * at] = static_cast<std::uint8_t>(groups[i] >> 8);
      bytes[2 * at + 1] = static_cast<std::uint8_t>(groups[i]);
    }
    return ip_address{bytes};
  }

  static constexpr int hexadecimal(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  bytes_type bytes_;
};

}  // namespace penstock::inline v0_1
