"""Code shared by the providers that write boot_params. Not a plugin itself.

Sources: Documentation/arch/x86/boot.rst and zero-page.rst of the Linux sources.
"""
