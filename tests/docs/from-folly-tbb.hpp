using namespace penstock;
struct user {};
struct orders {};
std::vector<double> v;
worker_pool& pool = *new worker_pool;
double filter(double);
task<user> load(int);
task<orders> orders_of(user);
void log(std::error_code);
