#!/usr/bin/env python3
"""Open the laboratory's HTML report in headless Chromium and look for what a person would stumble over.

    scripts/report_browser.py [--out DIR] [REPORT.html ...]

Without a file it takes two simulated reports: an ordinary one, and one whose every text tries to get out of its place.
Each is opened at 1280 and 375 pixels, light and dark. It fails when the page says anything on the console, runs a script,
opens a dialog, asks the network, is wider than the window, or has a plot without title and description, text that is
too faint to read, or data that are no JSON. Screenshots go to DIR (default: target/tmp/report), for looking at.

Chromium is driven through a pipe (--remote-debugging-pipe): Python's standard library is enough. Where there is none,
it says so and ends with 0.
"""

import argparse
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = [(1280, 900), (375, 812)]
SCHEMES = ["light", "dark"]
DEADLINE = 60.0

# What is looked for inside the page. Contrast: WCAG 2.2, 1.4.3 (4.5 : 1).
INSPECT = r"""
(() => {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const numbers = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map(Number);
  const paper = luminance(numbers(getComputedStyle(document.body).backgroundColor));
  const faint = new Set();
  for (const element of document.querySelectorAll("p, td, th, li, h1, h2, h3, svg text, figcaption, caption, summary")) {
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = luminance(numbers(element.tagName === "text" ? style.fill : style.color));
    const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (contrast < 4.5) faint.add(`${element.tagName}.${element.className.baseVal ?? element.className}: ${contrast.toFixed(1)}`);
  }
  const plots = [...document.querySelectorAll("svg[role=img]")];
  let data = null;
  try { data = JSON.parse(document.getElementById("data").textContent).version; } catch (error) { data = String(error); }
  return JSON.stringify({
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    plots: plots.length,
    silent: plots.filter((svg) => !svg.querySelector("title")?.textContent || !svg.querySelector("desc")?.textContent).length,
    scripts: [...document.scripts].filter((script) => script.type !== "application/json").length,
    handlers: [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
    images: document.images.length,
    ids: (() => { const ids = [...document.querySelectorAll("[id]")].map((e) => e.id); return ids.length - new Set(ids).size; })(),
    small: [...document.querySelectorAll("svg text")].filter((t) => { const r = t.closest("svg").getBoundingClientRect(); return r.width && r.width / t.closest("svg").viewBox.baseVal.width < 0.8; }).length,
    faint: [...faint],
    data,
  });
})()
"""


class Chromium:
    """One browser, spoken to through file descriptors 3 and 4."""

    def __init__(self, program, profile):
        read_end, self.write = os.pipe()
        self.read, write_end = os.pipe()
        os.set_blocking(self.read, False)
        arguments = [
            program, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", f"--user-data-dir={profile}",
        ]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")

        def fds():
            # Not both at once: one may be where the other has to go.
            a, b = os.dup(read_end), os.dup(write_end)
            spare = [os.dup(0) for _ in range(4)] if min(a, b) <= 4 else []
            os.dup2(a, 3)
            os.dup2(b, 4)
            del spare

        self.process = subprocess.Popen(
            arguments, preexec_fn=fds, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(read_end)
        os.close(write_end)
        self.buffer = b""
        self.number = 0
        self.events = []

    def receive(self, until):
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("Chromium does not answer")
            if self.process.poll() is not None:
                raise RuntimeError(f"Chromium ended with {self.process.returncode}")
            if select.select([self.read], [], [], min(left, 1.0))[0]:
                self.buffer += os.read(self.read, 1 << 20)
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        until = time.monotonic() + DEADLINE
        while True:
            answer = self.receive(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method, session):
        until = time.monotonic() + DEADLINE
        answered = 0
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive(until))
            dialogs = sum(event.get("method") == "Page.javascriptDialogOpening" for event in self.events)
            # The page waits for each.
            for _ in range(dialogs - answered):
                self.call("Page.handleJavaScriptDialog", session, accept=True)
            answered = dialogs

    def close(self):
        try:
            self.call("Browser.close")
        except (RuntimeError, TimeoutError, OSError):
            self.process.kill()
        self.process.wait(timeout=30)


def look(browser, report, width, height, scheme, picture):
    """Open one report once; what is wrong with it, as sentences."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.call(f"{domain}.enable", session)
    browser.call("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    browser.call("Page.navigate", session, url=report.as_uri())
    browser.wait("Page.loadEventFired", session)
    value = browser.call("Runtime.evaluate", session, expression=INSPECT)["result"].get("value")
    found = json.loads(value) if value else {}
    size = browser.call("Page.getLayoutMetrics", session)["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], 16_000), "scale": 1}
    shot = browser.call("Page.captureScreenshot", session, clip=clip, captureBeyondViewport=True)
    picture.write_bytes(base64.b64decode(shot["data"]))
    wrong = []
    for event in browser.events:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                wrong.append(f"a script ran: {json.dumps(parameters)[:300]}")
            case "Log.entryAdded":
                wrong.append(f"on the console: {parameters['entry'].get('text', '')[:300]}")
            case "Page.javascriptDialogOpening":
                wrong.append(f"a dialog: {parameters.get('message')}")
            case "Network.requestWillBeSent":
                url = parameters["request"]["url"]
                if url != report.as_uri() and not url.startswith("data:"):
                    wrong.append(f"the network was asked: {url[:200]}")
    browser.call("Target.closeTarget", targetId=target)
    if not found:
        return [*wrong, "the page could not be looked at"]
    for key, what in [
        ("wider", "pixels wider than the window"), ("silent", "plots without title or description"), ("scripts", "scripts"),
        ("handlers", "elements with event handlers"), ("images", "images"), ("ids", "ids that are not unique"),
        ("small", "texts in plots that are scaled down too far"),
    ]:
        if found[key]:
            wrong.append(f"{found[key]} {what}")
    wrong += [f"too faint: {faint}" for faint in found["faint"]]
    if found["data"] != 1:
        wrong.append(f"the data are not readable: {found['data']}")
    if not found["plots"]:
        wrong.append("there is no plot")
    return wrong


def simulated(directory):
    """The two reports of the example program."""
    reports = []
    for name, more in (("ordinary", []), ("hostile", ["7", "hostile"])):
        command = ["cargo", "run", "--quiet", "-p", "lab", "--example", "report", "--", "html", *more]
        text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        report = directory / f"{name}.html"
        report.write_bytes(text)
        reports.append(report)
    return reports


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "tmp" / "report")
    parser.add_argument("reports", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        print("SKIPPED: there is no Chromium here (Debian: apt-get install chromium); the report was not opened in a browser")
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    reports = [report.resolve() for report in arguments.reports] or simulated(arguments.out.resolve())
    failed = False
    with tempfile.TemporaryDirectory(prefix="report-browser-") as profile:
        browser = Chromium(program, profile)
        try:
            for report in reports:
                for width, height in SIZES:
                    for scheme in SCHEMES:
                        picture = arguments.out / f"{report.stem}-{width}-{scheme}.png"
                        wrong = look(browser, report, width, height, scheme, picture)
                        print(f"{'FAILED' if wrong else 'ok'}  {report.name} {width} px {scheme}  {picture}")
                        for what in wrong:
                            print(f"    {what}")
                        failed |= bool(wrong)
        finally:
            browser.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
