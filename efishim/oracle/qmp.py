"""A client for the QEMU Machine Protocol (QMP). Source: QEMU's docs/interop/qmp-spec.rst."""

from __future__ import annotations

import json
from typing import Any

from efishim.oracle.channels import Channels, Line, OracleError


class Qmp:
    """The control line of one QEMU."""

    def __init__(self, channels: Channels, line: Line) -> None:
        self._channels = channels
        self._line = line
        self.shutdown_cause = ""
        """QEMU's ShutdownCause (`guest-shutdown`, `guest-reset`, ...) once the guest ended."""

    def _message(self) -> dict[str, Any] | None:
        buffer = self._line.buffer
        end = buffer.find(b"\n")
        if end < 0:
            return None
        text = bytes(buffer[:end])
        del buffer[: end + 1]
        message: dict[str, Any] = json.loads(text)
        if message.get("event") == "SHUTDOWN":
            self.shutdown_cause = str(message["data"]["reason"])
        return message

    def _answer(self) -> dict[str, Any] | None:
        while (message := self._message()) is not None:
            if "return" in message or "error" in message or "QMP" in message:
                return message
        return None

    def events(self) -> None:
        """Note what came meanwhile."""
        while self._message() is not None:
            pass

    def greet(self) -> None:
        """Take the greeting and begin."""
        self._channels.wait(self._answer)
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command. Raises OracleError with QEMU's own words when it refuses."""
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self._channels.send(self._line, json.dumps(request).encode("ascii"))
        answer = self._channels.wait(self._answer)
        assert answer is not None
        if "error" in answer:
            raise OracleError(f"QEMU refused {command}: {answer['error'].get('desc', '')}")
        return answer["return"]

    def monitor(self, line: str) -> str:
        """What the human monitor says to a command."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))
