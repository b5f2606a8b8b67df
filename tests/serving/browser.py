"""Headless Chromium, driven over a pipe by its DevTools protocol; nothing of it is installed."""

import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--remote-debugging-pipe")  # fmt: skip


def chromium():
    """Return where Chromium is; skip the test if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")


class Page:
    """A page of the browser."""

    def __init__(self, send, receive):
        self.send = send
        self.receive = receive
        self.number = 0
        self.events = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def _call(self, method, params, session=None):
        self.number += 1
        own = {"id": self.number, "method": method, "params": params}
        self.send(own | ({"sessionId": session} if session else {}))
        while True:
            told = self.receive()
            if told.get("id") == self.number:
                assert "error" not in told, told
                return told["result"]
            self.events.append(told)

    def do(self, method, **params):
        """Call a method of the protocol."""
        return self._call(method, params, self.session)

    def open(self, url, width=1280, height=900, dark=False):
        """Go somewhere, in a window of some size."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height,
                deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])
        self.do("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, code):
        """Return the value of some JavaScript."""
        found = self.do("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition):
        """Wait until some JavaScript is true, for at most a minute."""
        end = time.monotonic() + 60
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}; {self.run(TEXT)}"
            time.sleep(0.02)

    def text(self, selector):
        """Return the visible text of the first element that fits."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def texts(self, selector):
        """Return the visible text of all elements that fit."""
        elements = f"[...document.querySelectorAll({json.dumps(selector)})]"
        return self.run(f"{elements}.map((element) => element.innerText)")

    def type(self, selector, text):
        """Put the cursor somewhere and type."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.do("Input.insertText", text=text)

    def press(self, key):
        """Press a key."""
        codes = {"Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Escape": 27, "Backspace": 8}
        enter = {"text": "\r"} if key == "Enter" else {}
        known = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.do("Input.dispatchKeyEvent", type="keyDown", **known, **enter)
        self.do("Input.dispatchKeyEvent", type="keyUp", **known)

    def click(self, selector):
        """Click on the middle of the first element that fits."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{place}.scrollIntoView({{block: 'center'}})")
        box = self.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                       f"({place}.getBoundingClientRect())")  # fmt: skip
        mouse = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
        self.do("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        self.do("Input.dispatchMouseEvent", type="mouseReleased", **mouse)

    def picture(self, path):
        """Write a picture of the whole page."""
        data = self.do("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def complaints(self):
        """Return what the browser has complained about: errors of scripts, and what it refused."""
        self.run("1")  # what was sent before has come now
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"}
        found = [event for event in self.events if event.get("method") in kinds]
        return [event for event in found
                if event["params"].get("entry", {}).get("level") != "info"]  # fmt: skip

    def fetched(self):
        """Return the addresses of everything that was asked for."""
        asked = [event for event in self.events
                 if event.get("method") == "Network.requestWillBeSent"]  # fmt: skip
        return [event["params"]["request"]["url"] for event in asked]


TEXT = "document.body.innerText.slice(0, 2000)"


@contextmanager
def browsing(folder):
    """Start the browser, with its files in a folder; yield a page."""
    binary = chromium()
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()

    def renumber():
        """The browser reads from 3 and writes to 4, which the pipes may have themselves."""
        first, second = os.dup(commands), os.dup(answers)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        [binary, *FLAGS, f"--user-data-dir={folder}"],
        preexec_fn=renumber,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    with os.fdopen(to_browser, "wb", 0) as out, os.fdopen(from_browser, "rb") as back:
        left = bytearray()

        def send(message):
            out.write(json.dumps(message).encode() + b"\0")

        def receive():
            while b"\0" not in left:
                part = back.read1(65536)
                assert part, "the browser has ended"
                left.extend(part)
            message, _, rest = bytes(left).partition(b"\0")
            left[:] = rest
            return json.loads(message)

        try:
            yield Page(send, receive)
        finally:
            process.kill()
            process.wait(60)
