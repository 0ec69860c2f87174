struct config {
  int workers;
};
config load();
void apply(const config&);
