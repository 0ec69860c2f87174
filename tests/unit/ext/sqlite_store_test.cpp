#include <penstock/ext/sqlite_store.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../support/store_conformance.hpp"
#include "../../support/temporary_folder.hpp"

using namespace std::chrono_literals;
using penstock::enqueue_options;
using penstock::job_entry;
using penstock::job_state;
using penstock::sqlite_errc;
using penstock::sqlite_store;
using penstock::sqlite_store_options;

namespace {

sqlite_store_options small() {
  return {.durability = penstock::sqlite_durability::normal,
          .capacity = 8,
          .keep_completed = {.count = 2},
          .keep_failed = {.count = 3},
          .poll_interval = std::chrono::nanoseconds::max()};
}

struct bench {
  sqlite_store<int>& store() { return store_; }
  temporary_folder folder;
  sqlite_store<int> store_{folder.file(), small()};
};

}  // namespace

TEST_CASE("sqlite_store: does what every store does", "[sqlite_store][hazard-32]") {
  store_conformance::order<bench>();
  store_conformance::delays<bench>();
  store_conformance::settling<bench>();
  store_conformance::fencing<bench>();
  store_conformance::names<bench>();
  store_conformance::deduplication<bench>();
  store_conformance::bounds<bench>();
  store_conformance::by_hand<bench>();
  store_conformance::telling<bench>();
}
