std::chrono::steady_clock::time_point arrived;
void serve();
