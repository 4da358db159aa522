; The probe kernel: one file that can be entered through every door that an x86 kernel may have, and that tells over COM1
; what it was given. See README.md in this folder for the form of the report.
;
; The file is at once
;   a bzImage                (boot.rst, protocol 2.15: real-mode, 32-bit, 64-bit and EFI handover entries),
;   an EFI application       (PE32+, x86-64),
;   a multiboot 1 kernel and a multiboot 2 kernel (both with address fields),
; and its payload is, as in a kernel's own bzImage, an ELF file with a Xen note: the PVH entry.
;
; Layout. File offset, RVA and distance from `image` are the same number for every byte:
;   0x0000  PE headers and real-mode setup code
;   0x1000  protected-mode part, loaded at 1 MiB: 32-bit entry, at 0x1200 the 64-bit entry, multiboot headers
;   below   the ELF header (payload), and all other code
;   data    everything that is written, then memory that is only reserved
;
; All code is position-independent. Only the entries that no loader moves (multiboot 1, PVH) know an address.

PAGE            equ 0x1000
IMAGE_BASE      equ 0x100000 - PAGE             ; where `image` lies when nobody moved the kernel
SETUP_SECTORS   equ PAGE / 512 - 1

%include "macros.inc"

        org     0
image:
%include "headers.inc"
%include "setup16.inc"
%include "bios16.inc"
        pad_to  PAGE

%include "entry32.inc"
%include "multiboot_headers.inc"
        align   64, db 0

%include "elf.inc"
%include "save32.inc"
%include "entry64.inc"
%include "print.inc"
%include "checksum.inc"
%include "cpu.inc"
%include "boot_params.inc"
%include "start_info.inc"
%include "multiboot.inc"
%include "acpi.inc"
%include "smbios.inc"
%include "efi.inc"
%include "efi_calls.inc"
%include "efi_exit.inc"
%include "ending.inc"
        align   PAGE, db 0
text_end:

%include "data.inc"
