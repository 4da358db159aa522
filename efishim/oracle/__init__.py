"""Real firmware as the judge: the same kernel booted on QEMU, looked at through its debug stub, as a record."""
