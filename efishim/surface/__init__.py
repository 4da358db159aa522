"""Which parts of the firmware a kernel needs: runs with fewer and fewer of them."""

CMDLINE = "console=ttyS0 cryptomgr.notests"
"""Unless the user gives one. Linux tests its ciphers in the middle of the boot, which takes most of the time of every trial and
asks nothing of the firmware."""
