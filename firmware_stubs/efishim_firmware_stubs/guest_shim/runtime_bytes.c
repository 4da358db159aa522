/* Bytes: what the compiler may call by itself, and the checksum of tables (4.2). Most of what the shim does is to copy. */
#include "runtime.h"

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;
	size_t words = size / 8, rest = size % 8;
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t size)
{
	if ((u64)to - (u64)from >= size)
		return memcpy(to, from, size);
	u8 *last_to = (u8 *)to + size - 1;
	const u8 *last_from = (const u8 *)from + size - 1;
	__asm__ volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(size) : : "memory");
	return to;
}

void *memset(void *to, int value, size_t size)
{
	void *start = to;
	size_t words = size / 8, rest = size % 8;
	u64 pattern = (u8)value * 0x0101010101010101ull;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(pattern) : "memory");
	return start;
}

int memcmp(const void *left, const void *right, size_t size)
{
	const u8 *a = left, *b = right;
	for (; size; size--, a++, b++)
		if (*a != *b)
			return *a - *b;
	return 0;
}

u32 crc32(const void *data, u64 size)
{
	const u8 *bytes = data;
	u32 crc = ~0u;
	for (; size; size--) {
		crc ^= *bytes++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

void seal(struct table_header *header)
{
	header->crc32 = 0;
	header->crc32 = crc32(header, header->header_size);
}
