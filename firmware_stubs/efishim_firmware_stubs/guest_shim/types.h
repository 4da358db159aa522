#ifndef TYPES_H
#define TYPES_H

/* Everything is in one file, so that code finds it relative to RIP and not through a table of addresses. */
#pragma GCC visibility push(hidden)

typedef unsigned char u8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;
typedef __SIZE_TYPE__ size_t;

#define true 1
#define false 0
#define NULL ((void *)0)
#define PAGE 0x1000ull
#define FOUR_GIB 0x100000000ull
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

#endif
