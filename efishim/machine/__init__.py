"""The CPU, RAM, buses, interrupts, exceptions and the virtual clock. The only room that imports unicorn."""
