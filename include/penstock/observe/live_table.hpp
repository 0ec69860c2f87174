// penstock/observe/live_table.hpp: the components of a registry in a terminal, while they work.
//
//   std::jthread watching{[&](std::stop_token stop) { penstock::live_table(all, stderr, 1s, stop); }};
//
// Clock  the registry's: intervals are its, and a manual_clock shows a table with each advance.
#pragma once

#include <chrono>
#include <cstdio>
#include <stop_token>
#include <utility>

#include <penstock/core/detail/blocking_wait.hpp>
#include <penstock/core/detail/join.hpp>
#include <penstock/observe/metric_table.hpp>
#include <penstock/observe/registry.hpp>
#include <penstock/observe/terminal_view.hpp>

namespace penstock::inline v0_1 {

/// Shows what happened in each interval, until stop is requested. Throws std::bad_alloc.
template <class Sync>
void live_table(const basic_registry<Sync>& of, terminal_view view, std::chrono::nanoseconds every, const std::stop_token& stop) {
  detail::basic_join<Sync> never;
  never.begin_one();
  registry_snapshot last = of.snapshot();
  for (;;) {
    detail::blocking_wait<detail::basic_join<Sync>, detail::plain_node<Sync>> rest{never};
    if (rest.run(stop, of.clock().after(every)) == detail::outcome::cancelled) return;
    registry_snapshot now = of.snapshot();
    view.show(to_table(now.since(last)));
    last = std::move(now);
  }
}
template <class Sync>
void live_table(const basic_registry<Sync>& of, std::FILE* to, std::chrono::nanoseconds every, const std::stop_token& stop) {
  live_table(of, terminal_view{to}, every, stop);
}

}  // namespace penstock::inline v0_1
