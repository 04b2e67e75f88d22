"""Alerts by Apprise, in a separate process.

There a channel that hangs is ended in time, and nothing that Apprise, requests or smtplib log of
an address gets into this process's logs. The addresses travel by a pipe, never in arguments.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from expectations.engine.lazy_imports import Deferred
from tasks.base.runtime.environment import module_command
from tasks.base.training_records import Record
from tasks.monitoring.alerts.messages import Message

if TYPE_CHECKING:
    import apprise
else:
    apprise = Deferred("apprise")  # 0.2 s

_START_SECONDS = 180.0  # for the process and its imports on a machine busy with fits
_WAITS = (0.5, 1.5)  # seconds before the second and the third try
# What Apprise logs, what it means, and whether another try may help.
_SIGNS = (
    ("timed out", "no answer in time", False),
    ("(535,", "it refuses the login", False),
    ("STARTTLS extension not supported", "it offers no TLS", False),
    ("AUTH extension not supported", "it does not support login", False),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", False),
    ("Name or service not known", "its name is not known", True),
    ("Failed to resolve", "its name is not known", True),
    ("Temporary failure in name resolution", "its name is not known", True),
    ("Connection refused", "nothing listens there", True),
    ("onnection error", "the connection broke", True),
    ("Socket Exception", "the connection broke", True),
)


class Delivery(Record):
    """Delivery of a message."""

    sent: int  # sent, failed: channels that took it, and that did not
    failed: int
    reasons: tuple[str, ...] = ()  # why, a sentence for each failed channel, without its secrets


def send(urls: Sequence[str], message: Message, *, timeout: float = 10.0) -> Delivery:
    """Send `message` to every one of the Apprise `urls`, side by side; never raises."""
    # Each has `timeout` seconds in all. What did not answer may have arrived: it gets no second.
    if not urls:
        return Delivery(sent=0, failed=0)
    request = json.dumps({"urls": list(urls), "message": message.model_dump(), "timeout": timeout})
    received: dict[int, str] = {}
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            module_command("tasks.monitoring.alerts.apprise_channel"),
            input=request.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout + _START_SECONDS,
            check=False,
        )
        out = done.stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    except OSError as error:
        reason = f"no channel was tried: {error.strerror}"
        return Delivery(sent=0, failed=len(urls), reasons=(reason,))
    with contextlib.suppress(ValueError):  # a process that was ended leaves half a line
        for line in out.splitlines():
            answer = json.loads(line)
            received[answer["channel"]] = answer["reason"]
    missing = "no answer from the process that sends"
    reasons = tuple(
        reason
        for i in range(len(urls))
        if (reason := received.get(i, f"channel {i + 1}: {missing}"))
    )
    return Delivery(sent=len(urls) - len(reasons), failed=len(reasons), reasons=reasons)


def unknown_channels(urls: Sequence[str]) -> tuple[int, ...]:
    """Return the positions, from 1, of the addresses that Apprise does not know; sends nothing."""
    with warnings.catch_warnings():
        # One of its plugins imports a module that Python 3.13 drops.
        warnings.simplefilter("ignore", DeprecationWarning)
        return tuple(i for i, url in enumerate(urls, 1) if _plugin(url) is None)


class _Channel:
    """One address while a message goes there."""

    def __init__(self, position: int, url: str) -> None:
        self.reason: str | None = None  # empty once sent
        self.name = f"channel {position + 1}{_shown(url)}"
        self.log: list[str] = []
        self.plugin = _plugin(url)

    def deliver(self, message: Message, deadline: float) -> None:
        """Try until it is sent, refused for good, or too late."""
        for wait in (0.0, *_WAITS):
            if time.monotonic() + wait >= deadline:
                return
            time.sleep(wait)
            self.log.clear()
            sent = self._try(message)
            if time.monotonic() >= deadline:
                return
            final, why = (True, "") if sent else _verdict("\n".join(self.log))
            self.reason = "" if sent else f"{self.name}: {why}"
            if final:
                return

    def _try(self, message: Message) -> bool:
        box = apprise.Apprise(asset=_asset())
        box.add(self.plugin)
        marked = self.plugin.notify_format == apprise.NotifyFormat.MARKDOWN
        try:
            return bool(
                box.notify(
                    title=message.title,
                    body=message.markdown if marked else message.text,
                    body_format=apprise.NotifyFormat.MARKDOWN
                    if marked
                    else apprise.NotifyFormat.TEXT,
                    notify_type=apprise.NotifyType(message.level),
                )
            )
        except Exception as error:  # noqa: BLE001 - a plugin's own mistake is a failed channel
            self.log.append(type(error).__name__)
            return False


def _verdict(log: str) -> tuple[bool, str]:
    """Return whether another try is useless, and why it failed, from what Apprise logged."""
    status = re.search(r"error=(\d{3})\b", log)
    if status:
        code = int(status[1])
        return code < 500 and code not in {408, 425, 429}, f"it answered {code}"
    for sign, words, again in _SIGNS:
        if sign in log:
            return not again, words
    return False, "it did not take the message"


def _asset() -> Any:
    """Return Apprise's settings: nothing stored, no redirect followed, no picture linked."""
    return apprise.AppriseAsset(
        storage_mode=apprise.PersistentStoreMode.MEMORY, app_id="keepfit", app_desc="keepfit",
        app_url="", image_url_mask="", image_url_logo="", http_redirects=False,
        pgp_autogen=False, pem_autogen=False, async_mode=False,
    )  # fmt: skip


def _plugin(url: str) -> Any:
    """Return Apprise's sender for `url`, or None when it does not know the address."""
    try:
        return apprise.Apprise.instantiate(url, asset=_asset())
    except Exception:  # noqa: BLE001 - whatever a plugin makes of an address
        return None


def _shown(url: str) -> str:
    """Return scheme and host of `url` where they are public, after a space."""
    scheme = url.partition("://")[0].lower()
    known = apprise.NotificationManager()
    if "://" not in url or scheme not in known:
        return ""
    token = known[scheme].template_tokens.get("host")
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    # The "host" of some services is a key: only what looks like a public one is shown.
    public = token is not None and not token.get("private") and _is_address(host)
    return f" {scheme}://{host}" if public else f" {scheme}://"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or re.fullmatch(r"[\w-]+(\.[\w-]+)+", host) is not None
    return True


class _Capture(logging.Handler):
    """Gives what is logged to the channel whose thread logs it, and to nobody else."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.channels: dict[int, _Channel] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message for the reason."""
        channel = self.channels.get(record.thread or 0)
        if channel is not None:
            channel.log.append(record.getMessage())


def _send_all(request: dict[str, Any]) -> list[str]:
    """Send to every address side by side; return each one's reason, empty where it was sent."""
    capture = _Capture()
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(capture)
    message = Message.model_validate(request["message"])
    channels = [_Channel(i, url) for i, url in enumerate(request["urls"])]
    timeout = float(request["timeout"])
    deadline = time.monotonic() + timeout

    def work(channel: _Channel) -> None:
        capture.channels[threading.get_ident()] = channel
        channel.deliver(message, deadline)

    threads = []
    for channel, url in zip(channels, request["urls"], strict=True):
        if channel.plugin is None:
            channel.reason = f"{channel.name}: not an address that Apprise knows"
            continue
        _bound(channel.plugin, url, timeout)
        threads.append(threading.Thread(target=work, args=(channel,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {timeout:g} s"
    return [f"{c.name}: {late}" if c.reason is None else c.reason for c in channels]


def _bound(plugin: Any, url: str, timeout: float) -> None:
    plugin.socket_connect_timeout = plugin.socket_read_timeout = timeout
    if "overflow=" not in url:
        plugin.overflow_mode = apprise.OverflowMode.TRUNCATE


def main() -> None:
    """Send the message read from standard input; print a JSON line for each channel."""
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    reasons = _send_all(json.loads(sys.stdin.buffer.read()))
    lines = [json.dumps({"channel": i, "reason": reason}) for i, reason in enumerate(reasons)]
    os.write(out, ("\n".join(lines) + "\n").encode())
    os._exit(0)  # a channel that hangs is left behind


if __name__ == "__main__":
    main()
