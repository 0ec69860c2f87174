// Random loads, clears, primes, failures and batches are answered as by a sequential oracle, and the source is asked for the same keys in the same
// batches.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <rapidcheck.h>

#include <penstock/batch/batcher.hpp>
#include <penstock/testing/manual_executor.hpp>

#include "support/property.hpp"

namespace {

using penstock::errc;
using keys = std::vector<int>;
using loader = penstock::batcher<int, int>;

constexpr int failed = -1;   // what a batch that failed is to its callers
constexpr int missing = -2;  // a key that is not found
constexpr int pending = -3;

struct rules {
  std::size_t max_batch = 100;
  std::size_t max_entries = 0;
  bool errors = false;  // are remembered
};

// The next batch: what it does, and what is cleared while it runs.
struct plan {
  bool fails = false;
  std::optional<int> clears;
};

int answer(int key, int version) { return key % 5 == 4 ? missing : key * 1000 + version; }

class oracle {
 public:
  explicit oracle(rules r) : rules_{r} {}

  void load(int key) {
    const std::size_t ticket = outcomes.size();
    outcomes.push_back(pending);
    if (const auto known = find(key); known != cache_.end()) {
      outcomes[ticket] = touch(known);
      return;
    }
    if (std::find(line_.begin(), line_.end(), key) == line_.end()) line_.push_back(key);
    waiting_[key].push_back(ticket);
  }
  int look(int key) {
    const auto known = find(key);
    return known != cache_.end() ? touch(known) : pending;
  }
  bool prime(int key, int value) {
    if (rules_.max_entries == 0) return false;
    if (const auto known = find(key); known != cache_.end()) return touch(known), false;
    if (std::find(line_.begin(), line_.end(), key) != line_.end()) return false;
    remember(key, value);
    return true;
  }
  void clear(int key) {
    if (const auto known = find(key); known != cache_.end()) cache_.erase(known);
  }
  void clear_all() { cache_.clear(); }
  void run(plan& next) {
    while (!line_.empty()) {
      const auto n = static_cast<std::ptrdiff_t>(std::min(line_.size(), rules_.max_batch));
      const keys batch(line_.begin(), line_.begin() + n);
      line_.erase(line_.begin(), line_.begin() + n);
      asked.push_back(batch);
      const int version = static_cast<int>(asked.size());
      if (next.clears) clear(*next.clears);
      for (const int key : batch) {
        const int value = next.fails ? failed : answer(key, version);
        for (const std::size_t ticket : waiting_[key]) outcomes[ticket] = value;
        waiting_.erase(key);
        const bool remembered = value >= 0 || (value == missing && rules_.errors);
        if (remembered && next.clears != key) remember(key, value);
      }
      next = {};
    }
  }
  [[nodiscard]] std::size_t remembered() const { return cache_.size(); }

  std::vector<int> outcomes;
  std::vector<keys> asked;

 private:
  struct entry {
    int key;
    int value;
  };
  using entries = std::vector<entry>;

  entries::iterator find(int key) {
    return std::find_if(cache_.begin(), cache_.end(), [key](const entry& e) { return e.key == key; });
  }
  int touch(entries::iterator known) {
    const entry e = *known;
    cache_.erase(known);
    cache_.push_back(e);
    return e.value;
  }
  void remember(int key, int value) {
    if (rules_.max_entries == 0) return;
    cache_.push_back({key, value});
    if (cache_.size() > rules_.max_entries) cache_.erase(cache_.begin());
  }

  rules rules_;
  entries cache_;  // the one asked for last at the end
  keys line_;
  std::map<int, std::vector<std::size_t>> waiting_;
};

template <class Get>
int outcome_of(Get get) {
  try {
    return get();
  } catch (const std::system_error& e) {
    return e.code() == errc::not_found ? missing : pending;
  } catch (const std::runtime_error&) {
    return failed;
  }
}

void play(const std::vector<std::uint8_t>& bytes) {
  std::size_t at = 0;
  const auto byte = [&] { return at < bytes.size() ? bytes[at++] : std::uint8_t{0}; };
  const rules r{.max_batch = byte() % 2 == 0 ? 100u : 1u + byte() % 4u,
                .max_entries = byte() % 3 == 0 ? 0u : 1u + byte() % 6u,
                .errors = byte() % 2 == 0};
  oracle expected{r};
  penstock::manual_executor loop;
  plan next;
  plan next_expected;
  std::vector<keys> asked;
  loader* self = nullptr;
  loader l{loop,
           [&](std::span<const int> k) {
             asked.emplace_back(k.begin(), k.end());
             const plan now = next;
             next = {};
             if (now.clears) self->clear(*now.clears);
             if (now.fails) throw std::runtime_error{"as it was told"};
             std::vector<penstock::result<int>> values;
             for (const int key : k) {
               const int value = answer(key, static_cast<int>(asked.size()));
               values.push_back(value >= 0 ? penstock::result<int>{value} : penstock::result<int>{errc::not_found});
             }
             return values;
           },
           {.max_batch_size = r.max_batch,
            .cache = {.max_entries = r.max_entries,
                      .negative_ttl = r.errors ? std::chrono::nanoseconds::max() : std::chrono::nanoseconds::zero()}}};
  self = &l;
  std::vector<penstock::shared_future<int>> tickets;
  while (at < bytes.size()) {
    const int what = byte() % 16;
    const int key = byte() % 12;
    if (what < 8) {
      tickets.push_back(l.load(key));
      expected.load(key);
    } else if (what < 10) {
      loop.run_all();
      expected.run(next_expected);
      next = {};
      next_expected = {};
    } else if (what == 10) {
      l.clear(key);
      expected.clear(key);
    } else if (what == 11) {
      l.clear_all();
      expected.clear_all();
    } else if (what == 12) {
      RC_ASSERT(l.prime(key, key) == expected.prime(key, key));
    } else if (what == 13) {
      next.fails = next_expected.fails = true;
    } else if (what == 14) {
      next.clears = next_expected.clears = key;
    } else {
      const int seen = outcome_of([&] {
        const auto held = l.try_load(key);
        return held ? *held : held.error() == errc::not_found ? missing : pending;
      });
      RC_ASSERT(seen == expected.look(key));
    }
    RC_ASSERT(l.stats().cached == expected.remembered());
  }
  loop.run_all();
  expected.run(next_expected);
  RC_ASSERT(asked == expected.asked);
  for (std::size_t i = 0; i < tickets.size(); ++i)
    RC_ASSERT(outcome_of([&] { return tickets[i].get(); }) == expected.outcomes[i]);
}

}  // namespace

int main() {
  test_support::try_cases("seed=1 max_success=2000 max_size=200", "max_success=100000 max_size=400");
  return rc::check("a batcher answers as its oracle", [](const std::vector<std::uint8_t>& bytes) { play(bytes); }) ? 0 : 1;
}
