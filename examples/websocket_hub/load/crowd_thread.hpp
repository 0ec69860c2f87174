// A thread with its part of the connections: readers, and such as do not read.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <penstock/core/task.hpp>
#include <penstock/core/task_group.hpp>
#include <penstock/sync/semaphore.hpp>
#include <penstock/sync/wait_group.hpp>

#include "../websocket.hpp"
#include "measurement.hpp"
#include "options.hpp"

namespace crowd {

struct tally {
  std::atomic<std::size_t> failed{0};   // could not be connected
  std::atomic<std::size_t> lost{0};     // readers whose connection has ended
  std::atomic<std::size_t> dropped{0};  // connections that do not read, and have been closed by the hub
  std::atomic<std::size_t> slow{0};     // ... that were made
};

class crowd_thread {
 public:
  /// All outlive it. `connecting` has the permits to connect.
  crowd_thread(const options& o, measurement& m, tally& t, penstock::semaphore& connecting);
  ~crowd_thread();
  crowd_thread(const crowd_thread&) = delete;
  crowd_thread& operator=(const crowd_thread&) = delete;

  /// Begins, with a table of descriptors of its own if that is wanted. Before that nothing else may be called.
  void start(bool own_table);
  /// Connects number first, first + step, and so on below end; tells `done` once.
  void connect(std::size_t first, std::size_t step, std::size_t end, bool slow, penstock::wait_group& done);
  /// When `done` was told of all that were begun.
  [[nodiscard]] bool has_connections() const noexcept { return !clients_.empty(); }
  /// Sends a message over the first connection of this thread, which has one.
  void say(std::string text);

 private:
  class client;
  penstock::task<> connect_all(std::size_t first, std::size_t step, std::size_t end, bool slow, penstock::wait_group& done);
  penstock::task<> connect_one(std::size_t number, bool slow, penstock::semaphore::permit turn);
  penstock::task<penstock::result<void>> try_to_connect(client& c, std::size_t number, bool slow);

  const options& options_;
  measurement& measurement_;
  tally& tally_;
  penstock::semaphore& connecting_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> keep_running_{context_.get_executor()};
  penstock::asio_scheduler<boost::asio::io_context> here_{context_};
  std::vector<std::shared_ptr<client>> clients_;
  std::string saying_;
  penstock::task_group tasks_{here_};
  std::jthread running_;
};

}  // namespace crowd
