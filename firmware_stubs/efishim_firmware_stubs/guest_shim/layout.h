/* Numbers that assembly and C share. */
#ifndef LAYOUT_H
#define LAYOUT_H

#define DATA_SELECTOR 0x10
#define CODE_SELECTOR 0x18

#define STACK_SIZE 0x20000 /* UEFI 2.10, 2.3.4: 128 KiB or more */

#endif
