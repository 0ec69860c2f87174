// A pipeline of every stage there is, one behind the other, with a hook in each.
#pragma once

#include <functional>

#include <penstock/channel/channel.hpp>
#include <penstock/core/deadline.hpp>
#include <penstock/core/result.hpp>
#include <penstock/pool/worker_pool.hpp>

#include "stream_testing.hpp"

namespace stream_testing {

constexpr int stages = 12;

/// Called by each stage for each of its items; `call` counts from 1.
using stage_hook = std::function<void(int stage, int call)>;

/// Runs it; `side` is what its tee fills. When run() has ended, no item is left (or the test ends there).
penstock::result<void> run_everything(penstock::worker_pool& pool, penstock::channel<counted>& side, stage_hook hook,
                                      const penstock::wait_limits& limits = {});

}  // namespace stream_testing
