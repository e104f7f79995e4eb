// godwit: moves running virtual machines from host to host.
int main() {
  return 2;
}
