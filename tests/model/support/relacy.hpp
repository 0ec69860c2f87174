// tests/model/support/relacy.hpp: the model checker without its macros.
//
// relacy.hpp itself replaces new, delete, assert, the memory orders and half of POSIX by macros, which no standard header survives. Its parts
// do not; so they are included one by one, after the standard headers that they and we use, and the one macro that they leave is undefined.
#pragma once

// glibc's checked longjmp takes a jump to another stack, which is how relacy switches threads, for an error.
#undef _FORTIFY_SOURCE

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <relacy/base.hpp>
// base.hpp comes first
#include <relacy/atomic.hpp>
#include <relacy/atomic_fence.hpp>
#include <relacy/backoff.hpp>
#include <relacy/context.hpp>
#include <relacy/context_base_impl.hpp>
#include <relacy/dyn_thread.hpp>
#include <relacy/stdlib/condition_variable.hpp>
#include <relacy/stdlib/event.hpp>
#include <relacy/stdlib/mutex.hpp>
#include <relacy/stdlib/semaphore.hpp>
#include <relacy/test_suite.hpp>
#include <relacy/var.hpp>

#undef $

// relacy replaces the other forms of new and delete, so that it sees leaks; C++14 came after it.
inline void operator delete(void* p, std::size_t) noexcept { ::operator delete(p); }
inline void operator delete[](void* p, std::size_t) noexcept { ::operator delete[](p); }
