// A worker pool: futures, errors, waiting inside a worker, what happens when it is full, a strand for what must not overlap, and its end.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include <penstock/pool/strand.hpp>
#include <penstock/pool/worker_pool.hpp>

namespace {

std::uint64_t collatz_steps(std::uint64_t n) {
  std::uint64_t steps = 0;
  for (; n != 1; ++steps) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
  return steps;
}

}  // namespace

int main() {
  const auto on_error = [](std::exception_ptr e) {
    try {
      std::rethrow_exception(e);
    } catch (const std::exception& known) {
      std::printf("a task failed: %s\n", known.what());
    }
  };
  penstock::worker_pool pool{{.queue_capacity = 64, .name = "basics", .on_error = on_error}};
  std::printf("%zu worker(s), room for %zu tasks\n", pool.threads(), pool.queue_capacity());

  // A future for each piece of work. While the queue is full, submit() waits: memory stays bounded however many there are.
  std::vector<penstock::future<std::uint64_t>> steps;
  for (std::uint64_t n = 1; n <= 1000; ++n) steps.push_back(pool.submit([n] { return collatz_steps(n); }));
  std::uint64_t total = 0;
  for (auto& f : steps) total += f.get();
  std::printf("%llu steps in all\n", static_cast<unsigned long long>(total));

  // An exception reaches whoever asks for the value, or on_error where nobody does.
  try {
    pool.submit([]() -> int { throw std::runtime_error{"no such file"}; }).get();
  } catch (const std::exception& e) {
    std::printf("get() threw: %s\n", e.what());
  }
  pool.post([] { throw std::runtime_error{"nobody asked"}; }).value();

  // Tasks may wait for tasks: a worker runs what it waits for, if nobody has begun it.
  auto sum = pool.submit([&pool] {
    auto left = pool.submit([] { return 40; });
    auto right = pool.submit([] { return 2; });
    return left.get() + right.get();
  });
  std::printf("40 + 2 = %d\n", sum.get());

  // A strand is a line of its own on the pool: one at a time, in order, without a lock.
  std::string text;
  penstock::strand writer{pool};
  for (int i = 0; i < 5; ++i) writer.post([&text, i] { text += std::to_string(i) + ' '; }).value();
  auto length = writer.submit([&text] { return text.size(); });
  const std::size_t written = length.get();
  std::printf("%s(%zu characters)\n", text.c_str(), written);

  // drain() waits until nothing is left; shutdown(), or the destructor, also ends the workers.
  pool.drain().value();
  std::printf("%zu posted task(s) failed\n", pool.failed());
  pool.shutdown().value();
  const auto late = pool.post([] {});
  std::printf("after shutdown: %s\n", late ? "accepted" : late.error().message().c_str());
  return total == 59542 && text == "0 1 2 3 4 " && pool.failed() == 1 && !late ? 0 : 1;
}
