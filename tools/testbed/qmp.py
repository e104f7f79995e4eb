"""A QMP client: commands, and events with the times that QEMU gave them."""

import json
import socket
import threading
import time


class QmpError(RuntimeError):
    pass


class Qmp:
    """One monitor connection. A thread of its own reads it; commands and waits may come from one other thread."""

    def __init__(self, path, timeout=10):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(path)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise QmpError(f"no monitor at {path}: {error}") from error
                time.sleep(0.02)
        self._condition = threading.Condition()
        self._answers = []
        self._closed = False
        self.events = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.command("qmp_capabilities")

    def command(self, name, timeout=30, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        with self._condition:
            self._answers.clear()
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:  # a QEMU whose KVM does not work here ends itself at once
                raise QmpError(f"{name}: the monitor closed ({error})") from error
            if not self._condition.wait_for(lambda: self._answers or self._closed, timeout):
                raise QmpError(f"{name}: no answer within {timeout} s")
            if not self._answers:
                raise QmpError(f"{name}: the monitor closed")
            answer = self._answers.pop(0)
        if "error" in answer:
            raise QmpError(f"{name}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def wait_event(self, name, timeout, since=0.0, such=lambda data: True):
        """The first event of that name at or after `since` whose data is `such`: (seconds since the epoch, data), or
        None if none came."""
        def found():
            return next(((at, data) for at, event, data in self.events
                         if event == name and at >= since and such(data)), None)

        with self._condition:
            self._condition.wait_for(lambda: found() or self._closed, timeout)
            return found()

    def time_of(self, name, timeout, since=0.0):
        """When it came, or None."""
        event = self.wait_event(name, timeout, since)
        return event[0] if event else None

    def times_of(self, name, since):
        with self._condition:
            return [time for time, event, _ in self.events if event == name and time >= since]

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(5)
        self._socket.close()

    def _read(self):
        try:
            for line in self._socket.makefile("rb"):
                message = json.loads(line)
                with self._condition:
                    if "event" in message:
                        at = message["timestamp"]
                        self.events.append((at["seconds"] + at["microseconds"] * 1e-6, message["event"],
                                            message.get("data", {})))
                    elif "return" in message or "error" in message:
                        self._answers.append(message)
                    self._condition.notify_all()
        except (OSError, ValueError):
            pass
        with self._condition:
            self._closed = True
            self._condition.notify_all()
