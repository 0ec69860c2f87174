// First: it says which implementation it is.
#include <penstock/ext/beman_execution.hpp>

static_assert(beman::execution::scheduler<penstock::any_scheduler>);

namespace stdexec = beman::execution;
#include "stdexec_test.cpp"
