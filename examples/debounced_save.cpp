// An editor that saves as one types: once the typing has paused, or every half second if it does not. The last words are never lost.
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>

#include <penstock/penstock.hpp>

using namespace std::chrono_literals;

int main() {
  std::string disk;
  int writes = 0;
  penstock::worker_pool pool{{.threads = 2}};

  // One write at a time, on the pool: so it needs no lock. Its result goes to whoever asked for it.
  auto save = penstock::debounce(pool, 100ms,
                                 [&](std::string text) {
                                   disk = std::move(text);
                                   ++writes;
                                   return disk.size();
                                 },
                                 {.max_wait = 500ms});

  // And for the impatient: the number of words, at most ten times a second.
  auto count = penstock::throttle(pool, 100ms, [](std::size_t words) { std::printf("%zu words\n", words); });

  const std::string words[] = {"a ", "penstock ", "admits ", "as ", "much ", "as ", "the ", "turbine ", "can ", "take"};
  std::string text;
  std::size_t typed = 0;
  for (const std::string& word : words) {
    for (const char letter : word) {
      text += letter;
      save(text);
      std::this_thread::sleep_for(15ms);
    }
    count(++typed);
  }

  auto saved = save.submit(text);  // what the write of this text gives, or of a later one
  (void)save.drain();              // no need to wait for the pause
  try {
    const std::size_t letters = saved.get();
    std::printf("saved %zu of %zu letters, in %d writes\n", letters, text.size(), writes);
  } catch (const std::exception& e) {
    std::printf("not saved: %s\n", e.what());
  }
  (void)count.drain();
  return disk == text ? 0 : 1;
}
