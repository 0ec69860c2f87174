// Sockets that close themselves, and where the server is.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "options.hpp"

namespace load {

class descriptor {
 public:
  explicit descriptor(int number = -1) noexcept : number_{number} {}
  descriptor(descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~descriptor() { reset(); }
  void reset() noexcept {
    if (number_ >= 0) ::close(std::exchange(number_, -1));
  }
  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] bool is_open() const noexcept { return number_ >= 0; }

 private:
  int number_;
};

struct address {
  ::sockaddr_storage storage{};
  ::socklen_t length = 0;
};

/// The first address of the server that takes a connection. Throws std::runtime_error if none does.
[[nodiscard]] address find_server(const url& u);

/// As many descriptors as the system lets this process have.
void raise_descriptor_limit() noexcept;

}  // namespace load
