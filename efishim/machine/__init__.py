"""CPU, RAM, buses, interrupts, exceptions and the virtual clock. The only package that imports unicorn."""
