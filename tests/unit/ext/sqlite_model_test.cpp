// A sqlite_store does what the sequential model does, whatever it is asked: see support/store_model.hpp.
#include <penstock/ext/sqlite_store.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include <penstock/core/backoff.hpp>

#include "../../support/catch.hpp"
#include "../../support/store_model.hpp"

namespace {

struct folder_of_its_own {
  folder_of_its_own() {
    std::string name = (std::filesystem::temp_directory_path() / "penstock-model-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~folder_of_its_own() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

struct modelled {
  penstock::sqlite_store<int>& store() { return store_; }
  folder_of_its_own folder;
  penstock::sqlite_store<int> store_{(folder.path / "jobs.db").string(),
                                     {.durability = penstock::sqlite_durability::normal,
                                      .capacity = store_model::usual_capacity,
                                      .keep_completed = {.count = store_model::kept_completed},
                                      .keep_failed = {.count = store_model::kept_failed},
                                      .poll_interval = std::chrono::nanoseconds::max()}};
};

}  // namespace

TEST_CASE("sqlite_store: does what the sequential model does, at random", "[sqlite_store][hazard-32]") {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    penstock::splitmix64 random{seed};
    const auto below = [&random](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
    INFO("seed " << seed);
    CHECK_NOTHROW(store_model::follow<modelled>(below, 200));
  }
}
