/* An IDT whose every vector says what happened and stops. */
#include "boot.h"
#include "cpu.h"
#include "layout.h"

#define VECTORS 32
#define STUB_SIZE 16
#define INTERRUPT_GATE 0x8e
#define PAGE_FAULT 14

struct gate {
	u16 offset_low, selector;
	u8 stack, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};

struct frame {
	u64 vector, error, rip, cs, flags, rsp, ss;
};

static struct gate gates[VECTORS] __attribute__((aligned(16)));

void exceptions_init(void)
{
	for (u64 vector = 0; vector < VECTORS; vector++) {
		u64 stub = (u64)exception_stubs + vector * STUB_SIZE;
		gates[vector] = (struct gate){stub, CODE_SELECTOR, 0, INTERRUPT_GATE, stub >> 16, stub >> 32, 0};
	}
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer = {sizeof(gates) - 1, (u64)gates};
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

_Noreturn void unexpected_exception(const struct frame *frame);

void unexpected_exception(const struct frame *frame)
{
	say("\r\nefishim: exception ");
	say_hex(frame->vector);
	say(", error code ");
	say_hex(frame->error);
	say(", at ");
	say_hex(frame->rip);
	if (frame->vector == PAGE_FAULT) {
		say(", address ");
		say_hex(faulting_address());
	}
	stop();
}
