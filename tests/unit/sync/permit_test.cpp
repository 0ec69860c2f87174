#include <penstock/sync/permit.hpp>

#include <stdexcept>
#include <utility>

#include <penstock/sync/semaphore.hpp>

#include "../../support/catch.hpp"

namespace {

using namespace penstock;

TEST_CASE("permit: gives back what it owns at the end of its life", "[permit]") {
  semaphore s{5};
  {
    auto p = s.acquire_permit(3);
    REQUIRE(p);
    CHECK(p->size() == 3);
    CHECK(s.available() == 2);
  }
  CHECK(s.available() == 5);
  permit p = *s.try_acquire_permit(2);
  p = *s.try_acquire_permit(3);  // the old ones go back
  CHECK(s.available() == 2);
  p.release();
  CHECK(s.available() == 5);
  CHECK_FALSE(p);
  p.release();
  CHECK(s.available() == 5);
}

TEST_CASE("permit: splits and merges without touching the semaphore", "[permit]") {
  semaphore s{5};
  permit all = *s.acquire_permit(5);
  permit part = all.split(2);
  CHECK(all.size() == 3);
  CHECK(part.size() == 2);
  CHECK_THROWS_AS(all.split(4), std::invalid_argument);
  CHECK_THROWS_AS(all.split(-1), std::invalid_argument);
  CHECK(all.size() == 3);
  CHECK(s.available() == 0);
  part.release();
  CHECK(s.available() == 2);
  all.merge(*s.acquire_permit(1));
  CHECK(all.size() == 4);
  CHECK(s.available() == 1);
  permit none;
  none.merge(std::move(all));
  CHECK(none.size() == 4);
  CHECK_FALSE(all);

  semaphore other{1};
  permit foreign = *other.acquire_permit();
  CHECK_THROWS_AS(none.merge(std::move(foreign)), std::invalid_argument);
  CHECK(foreign.size() == 1);
  CHECK(none.size() == 4);
  none.release();
  CHECK(s.available() == 5);
}

TEST_CASE("permit: forgotten permits make the semaphore smaller", "[permit]") {
  semaphore s{3};
  {
    auto p = s.acquire_permit(2);
    CHECK(p->forget() == 2);
    CHECK_FALSE(*p);
  }
  CHECK(s.available() == 1);
}

}  // namespace
