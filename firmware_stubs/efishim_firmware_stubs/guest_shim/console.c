/*
 * What the shim has to say before the kernel can: to the serial port if there is one, else to Xen's console ring
 * (xen/include/public/io/console.h), else to nobody.
 */
#include "boot.h"
#include "cpu.h"
#include "runtime.h"

#define COM1 0x3f8
#define LINE_STATUS 5
#define SCRATCH 7
#define CAN_SEND 0x20
#define TRIES 100000

#define HVMOP_GET_PARAM 1
#define PARAM_CONSOLE_PFN 17
#define PARAM_CONSOLE_EVTCHN 18
#define DOMID_SELF 0x7ff0
#define EVTCHNOP_SEND 4

struct console_ring {
	u8 in[1024], out[2048];
	u32 in_cons, in_prod;
	volatile u32 out_cons, out_prod;
};

static bool serial;
static struct console_ring *ring;
static u32 ring_port;

static bool xen_parameter(u32 index, u64 *value)
{
	struct {
		u16 domain;
		u32 index;
		u64 value;
	} query = {DOMID_SELF, index, 0};
	if (hypercall(XEN_HVM_OP, HVMOP_GET_PARAM, (u64)&query, 0))
		return false;
	*value = query.value;
	return true;
}

void console_init(void)
{
	out8(COM1 + SCRATCH, 0x5a); /* a byte that nothing but a UART gives back */
	serial = in8(COM1 + SCRATCH) == 0x5a;
	u64 frame, port;
	if (serial || !xen_parameter(PARAM_CONSOLE_PFN, &frame) || !xen_parameter(PARAM_CONSOLE_EVTCHN, &port))
		return;
	if (frame && frame < FOUR_GIB / PAGE) {
		ring = (void *)(frame * PAGE);
		ring_port = port;
	}
}

static void put_serial(u8 byte)
{
	for (int tries = TRIES; tries && !(in8(COM1 + LINE_STATUS) & CAN_SEND); tries--)
		;
	out8(COM1, byte);
}

static void notify_ring(void)
{
	hypercall(XEN_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (u64)&ring_port, 0);
}

static void put_ring(u8 byte)
{
	for (int tries = TRIES; tries && ring->out_prod - ring->out_cons >= sizeof(ring->out); tries--)
		notify_ring();
	ring->out[ring->out_prod % sizeof(ring->out)] = byte;
	ring->out_prod = ring->out_prod + 1;
}

void say(const char *text)
{
	for (; *text; text++) {
		if (serial)
			put_serial(*text);
		else if (ring)
			put_ring(*text);
	}
	if (ring)
		notify_ring();
}

void say_hex(u64 number)
{
	char text[19], *at = text + sizeof(text);
	*--at = 0;
	do
		*--at = "0123456789abcdef"[number & 15];
	while (number >>= 4);
	*--at = 'x';
	*--at = '0';
	say(at);
}

void stop(void)
{
	say("\r\nefishim: stopped\r\n");
	halt();
}

void wrong(const char *what)
{
	say("efishim: ");
	say(what);
	stop();
}

void wrong_number(const char *what, u64 number)
{
	say("efishim: ");
	say(what);
	say(" ");
	say_hex(number);
	stop();
}
