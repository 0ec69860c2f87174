using namespace penstock;
struct user_record {};
struct order {};
struct request {};
int id;
task<user_record> load_user(int);
task<std::vector<order>> load_orders(int);
void show(const user_record&, const std::vector<order>&);
task<void> serve(request&);
