// Runs a shell's command for a job.
#pragma once

#include <string>

#include <penstock/job/job.hpp>

namespace jobs {

/// `sh -c command` with `text`, the job's, as "$1", and PENSTOCK_JOB_ID and PENSTOCK_JOB_ATTEMPT in its environment. Blocks until it ends. Exit status 0:
/// done; 65 (EX_DATAERR): failed for good; any other, or a signal: a failed attempt. When stop is requested of the job, the command and its children
/// get SIGTERM.
[[nodiscard]] penstock::job_outcome run_command(const std::string& command, std::string text, penstock::job<std::string>& j);

}  // namespace jobs
