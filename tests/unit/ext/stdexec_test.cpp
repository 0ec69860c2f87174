#include <penstock/ext/stdexec.hpp>

#include "stdexec_cases.hpp"
