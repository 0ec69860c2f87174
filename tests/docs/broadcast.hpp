struct quote {};
void show(const quote&);
quote q;
