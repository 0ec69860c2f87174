using namespace penstock;
struct page {};
std::vector<std::string> urls;
semaphore permits{1};
task<page> fetch(std::string);
void index(const page&);
task<void> serve(const permit&);
void give_up(std::error_code);
