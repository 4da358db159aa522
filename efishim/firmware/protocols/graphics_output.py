"""EFI_GRAPHICS_OUTPUT_PROTOCOL (UEFI 2.10, 12.9) over a framebuffer in reserved memory. Off unless asked for."""

from __future__ import annotations

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID, EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID
from efishim.wire.uefi_protocols import GraphicsOutputMode, GraphicsOutputModeInformation, GraphicsOutputProtocol

FUNCTIONS = functions(
    """
    GraphicsOutput 12.9.2 QueryMode This:ptr ModeNumber:u32 SizeOfInfo:>uintn Info:>ptr
    GraphicsOutput 12.9.3 SetMode This:ptr ModeNumber:u32
    GraphicsOutput 12.9.4 Blt This:ptr BltBuffer:ptr? BltOperation:u32 SourceX:uintn SourceY:uintn DestinationX:uintn DestinationY:uintn Width:uintn Height:uintn Delta:uintn
    """  # noqa: E501 - one line per function is what makes the table readable
)

MODES = ((1280, 800), (1024, 768), (800, 600), (640, 480))
"""Width and height; the first is set at start, as OVMF does on QEMU's standard VGA."""

PIXEL = 4
BGR_RESERVED = 1
"""PixelBlueGreenRedReserved8BitPerColor (12.9.1)."""

FRAMEBUFFER_SIZE = max(width * height for width, height in MODES) * PIXEL
VIDEO_FILL, VIDEO_TO_BUFFER, BUFFER_TO_VIDEO, VIDEO_TO_VIDEO = range(4)


class GraphicsOutput:
    """`framebuffer` is the address of FRAMEBUFFER_SIZE bytes; `path` the bytes of the device's path."""

    def __init__(self, context: ProtocolContext, framebuffer: int, path: bytes) -> None:
        self._workshop = context
        self._guest = context.guest
        self._memory = context.board.memory
        self.framebuffer = framebuffer
        self._number = 0
        self._info_at = context.place(bytes(GraphicsOutputModeInformation.sizeof()))
        self._mode_at = context.place(bytes(GraphicsOutputMode.sizeof(context.guest.width)))
        handlers: dict[str, Handler] = {"QueryMode": self.query_mode, "SetMode": self.set_mode, "Blt": self.blt}
        fields = {"Mode": self._mode_at}
        self.interface = context.interface(FUNCTIONS, GraphicsOutputProtocol, handlers, fields)
        self._select(0)
        self.handle = context.install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, context.place(path))
        self.handle = context.install(self.handle, EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID, self.interface)

    @staticmethod
    def _info(number: int) -> bytes:
        width, height = MODES[number]
        return GraphicsOutputModeInformation(
            HorizontalResolution=width,
            VerticalResolution=height,
            PixelFormat=BGR_RESERVED,
            PixelsPerScanLine=width,
        ).build()

    def _select(self, number: int) -> None:
        self._number = number
        width, height = MODES[number]
        info = self._info(number)
        self._memory.write(self._info_at, info)
        mode = GraphicsOutputMode(
            MaxMode=len(MODES),
            Mode=number,
            Info=self._info_at,
            SizeOfInfo=len(info),
            FrameBufferBase=self.framebuffer,
            FrameBufferSize=width * height * PIXEL,
        )
        self._memory.write(self._mode_at, mode.build(self._guest.width))
        self._memory.fill(self.framebuffer, width * height * PIXEL)

    def query_mode(self, this: int, number: int, size: int, info: int) -> int:
        """QueryMode (12.9.2): the information comes in a buffer from pool, which the caller frees."""
        demand(this == self.interface and number < len(MODES) and size and info)
        self._guest.put_uintn(size, 0)
        self._guest.put_uintn(info, 0)
        data = self._info(number)
        self._guest.put_uintn(info, self._workshop.place(data))
        self._guest.put_uintn(size, len(data))
        return Status.SUCCESS

    def set_mode(self, this: int, number: int) -> int:
        """SetMode (12.9.3) clears the screen."""
        demand(this == self.interface)
        demand(number < len(MODES), Status.UNSUPPORTED)
        self._select(number)
        return Status.SUCCESS

    def blt(
        self, this: int, buffer: int, operation: int, sx: int, sy: int, dx: int, dy: int, width: int, height: int,
        delta: int,
    ) -> int:  # fmt: skip
        """Blt (12.9.4). Rectangles outside the screen, and empty ones, are EFI_INVALID_PARAMETER."""
        demand(this == self.interface and operation <= VIDEO_TO_VIDEO and width and height)
        columns, rows = MODES[self._number]
        uses_buffer = operation != VIDEO_TO_VIDEO
        demand(buffer or not uses_buffer)
        if operation in (VIDEO_TO_BUFFER, VIDEO_TO_VIDEO):
            demand(sx + width <= columns and sy + height <= rows)
        if operation != VIDEO_TO_BUFFER:
            demand(dx + width <= columns and dy + height <= rows)
        pitch = delta or width * PIXEL
        span = width * PIXEL
        if operation == VIDEO_FILL:
            row = self._guest.read(buffer, PIXEL) * width
            for y in range(dy, dy + height):
                self._memory.write(self._at(dx, y), row)
        elif operation == VIDEO_TO_BUFFER:
            for i in range(height):
                place = buffer + (dy + i) * pitch + dx * PIXEL
                self._guest.write(place, self._memory.read(self._at(sx, sy + i), span))
        elif operation == BUFFER_TO_VIDEO:
            for i in range(height):
                row = self._guest.read(buffer + (sy + i) * pitch + sx * PIXEL, span)
                self._memory.write(self._at(dx, dy + i), row)
        else:
            copied = [self._memory.read(self._at(sx, sy + i), span) for i in range(height)]
            for i, row in enumerate(copied):
                self._memory.write(self._at(dx, dy + i), row)
        return Status.SUCCESS

    def _at(self, x: int, y: int) -> int:
        return self.framebuffer + (y * MODES[self._number][0] + x) * PIXEL
