"""The GDB remote serial protocol: framing and registers, and the stub through which gdb looks at the guest."""
