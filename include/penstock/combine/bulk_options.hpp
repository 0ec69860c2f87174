// penstock/combine/bulk_options.hpp: what a loop on a pool (for_each, map, reduce) can be told, and the rules that all of them share.
//
//   std::vector<std::exception_ptr> failures;
//   auto r = for_each(pool, files, scan, {.chunk = 16, .stop = token, .failures = &failures});
//   if (!r) return r.error();   // errc::cancelled: stop was requested before the last chunk had begun
//
// Who runs what  the range is divided into chunks. The caller works on them, and so do as many workers as are free, pool.threads() threads at the
//                most; each takes the next chunk when it has finished one. The caller waits only for chunks that a thread has begun, and runs
//                what that thread forks meanwhile, as with invoke(). So loops may be nested to any depth, on a pool of one thread, with a full
//                queue, from inside and outside of the pool. From outside eight loops at a time find help; the ninth works alone.
// Exceptions     after the first one no chunk begins; those that run go on to their end, or to an exception of their own. Then the first one, in
//                time, is thrown. All of them go to `failures`, if it is given, the thrown one in front; without it the others go to the
//                pool's error handler and count in its failed().
// Stopping       no chunk begins after `stop`. What was done stays done.
// Ranges         are iterated by several threads at a time, each on its own elements: what a view computes must allow that. Ranges with random
//                access are divided by counting; through others (std::list) the caller walks once before it begins; of those that can be read
//                only once the elements are copied (moved, if they are no references) into a vector before. So do not give it an endless one.
// Functions      are shared by all threads and called at the same time.
// Coroutines     there is no special form: one that has gone to the pool (`co_await pool.schedule()`) calls the loop and takes part in it.
#pragma once

#include <cstddef>
#include <exception>
#include <stop_token>
#include <vector>

namespace penstock::inline v0_1 {

struct bulk_options {
  std::size_t chunk = 0;                                ///< elements; 0: eight chunks for each thread
  std::stop_token stop = {};                            ///< asked before each chunk
  std::vector<std::exception_ptr>* failures = nullptr;  ///< emptied, then filled; must outlive the call
};

}  // namespace penstock::inline v0_1
