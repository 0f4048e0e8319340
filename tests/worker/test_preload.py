"""A template: imports the application once and forks workers, which are ours for life and death.

These tests play the host: they are a subreaper (see the documentation of `jail::adopt`), order forks, and reap.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import select
import signal
import socket
import struct
from collections.abc import Callable

import frames
import pytest
from conftest import has_uvloop
from frames import Reader
from harness import PATIENCE, Worker

CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="module", autouse=True)
def subreaper():
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Adopted:
    """As much of a Popen as the harness uses, for a process that we did not start."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)
        self.returncode: int | None = None

    def wait(self, patience: float) -> int:
        if self.returncode is None:
            assert select.select([self.handle], [], [], patience)[0], f"process {self.pid} does not end"
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
            os.close(self.handle)
        return self.returncode

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        signal.pidfd_send_signal(self.handle, number)


class Forked(Worker):
    """A worker that a template forked."""

    def __init__(self, template: Worker, pid: int, data: socket.socket, control: socket.socket) -> None:
        self._attach(data, control)
        self.stderr = os.fdopen(os.dup(template.stderr.fileno()), "rb")
        self.directory = template.directory
        self.process = Adopted(pid)  # type: ignore[assignment]


class Refused(Exception):
    """No worker was born."""


def order(template: Worker, *output: int, descriptors: int | None = None) -> tuple[socket.socket, ...]:
    """Send an order; our ends of birth socket, data link and control link."""
    birth, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    birth.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    birth.settimeout(PATIENCE)
    ours, links = zip(socket.socketpair(), socket.socketpair())
    fds = [theirs.fileno(), *(link.fileno() for link in links), *output][:descriptors]
    socket.send_fds(template.control, [frames.frame(frames.FORK, payload=bytes([len(fds)]))], fds)
    for end in (theirs, *links):
        end.close()
    return birth, *ours


def fork(template: Worker, *output: int) -> Forked:
    birth, data, control = order(template, *output)
    with birth:
        message, ancillary, _, _ = birth.recvmsg(512, socket.CMSG_SPACE(CREDENTIALS.size))
    if message != b"+":
        data.close()
        control.close()
        raise Refused(message.decode())
    (_, _, credentials), = ancillary
    return Forked(template, CREDENTIALS.unpack(credentials)[0], data, control)


@pytest.fixture(scope="module")
def template(start: Callable[..., Worker]) -> Callable[..., Worker]:
    def make(app: str = "preloaded", mode: str = "", **settings: object) -> Worker:
        os.environ["PRELOADED"] = mode
        try:
            return start(app, template_of=os.getpid(), **settings)
        finally:
            del os.environ["PRELOADED"]

    return make


def ready(template: Worker) -> Worker:
    template.control_message(frames.READY)
    assert not template.orders, "a template is no worker and says no hello"
    return template


KINDS = [("preloaded", {}), ("preloaded", {"threads": 3}), ("preloaded:asgi", {})]


@pytest.mark.parametrize("app,settings", KINDS, ids=["sync", "threads", "async"])
def test_forks_are_workers(template, app: str, settings: dict) -> None:
    with template(app, **settings) as origin:
        ready(origin)
        pids = set()
        for _ in range(2):
            with fork(origin) as worker:
                worker.ready()
                importer, pid, *rest = worker.get("/who").body.decode().split()
                assert (int(importer), int(pid)) == (origin.process.pid, worker.process.pid)
                if app == "preloaded":
                    assert rest == [str(os.getpid()), pid], "our child, leader of a session"
                else:
                    assert rest == [pid, "asyncio"], "its lifespan was started after the fork"
                pids.add(pid)
                assert worker.finish() == 0
        assert len(pids) == 2
        ended = [line for line in origin.errors().splitlines() if "lifespan" in line]
        assert sorted(ended) == sorted(f"lifespan ended in {pid}" for pid in pids if app != "preloaded")
        origin.control.shutdown(socket.SHUT_RDWR)
        assert origin.process.wait(PATIENCE) == 0


@pytest.mark.once
def test_uvloop(template, python: str) -> None:
    if not has_uvloop(python):
        pytest.skip("no uvloop in this interpreter")
    with template("preloaded:asgi", loop="uvloop") as origin:
        ready(origin)
        for _ in range(2):
            with fork(origin) as worker:
                worker.ready()
                assert worker.get("/").body.decode().split()[-1] == "uvloop"
                assert worker.finish() == 0


@pytest.mark.ends
def test_hooks_run_once_in_each_process(template) -> None:
    with template() as origin:
        ready(origin)
        with fork(origin) as first, fork(origin) as second:
            assert first.ready().get("/hooks").body == b"before child"
            assert second.ready().get("/hooks").body == b"before parent before child"


@pytest.mark.ends
def test_what_is_shared_and_what_is_not(template, start) -> None:
    with template() as origin:
        ready(origin)
        with fork(origin) as first, fork(origin) as second:
            numbers = {worker.ready().get("/random").body for worker in (first, second)}
            assert len(numbers) == 2, "random is seeded anew"
            assert int(first.get("/frozen").body) > 1000
            with start("preloaded") as ordinary:
                assert open_files(first) == open_files(ordinary.ready()), "nothing is left of the template"


def open_files(worker: Worker) -> list[str]:
    """Kinds of what is open; links first, which have their numbers."""
    numbers = dict(entry.split(":") for entry in worker.get("/open").body.decode().split())
    links = [numbers.pop("3"), numbers.pop("4")]
    for standard in "012":  # the tests' own
        del numbers[standard]
    return links + sorted(re.sub(r"^/proc/\d+/task/\d+/", "/proc/PID/task/ID/", file) for file in numbers.values())


@pytest.mark.once
def test_workers_outlive_the_template(template) -> None:
    with template() as origin:
        ready(origin)
        with fork(origin) as worker:
            worker.ready()
            origin.process.kill()
            origin.process.wait(PATIENCE)
            assert worker.get("/who").status == 200
            assert worker.finish() == 0


@pytest.mark.once
@pytest.mark.parametrize("app", ["preloaded", "preloaded:asgi"])
def test_a_worker_ends_with_its_link(template, app: str) -> None:
    with template(app) as origin:
        ready(origin)
        with fork(origin) as worker:
            worker.ready()
            worker.control.shutdown(socket.SHUT_RDWR)
            assert worker.process.wait(PATIENCE) == 1
        with fork(origin) as worker:
            assert worker.ready().get("/who").status == 200, "the template is none the worse"


@pytest.mark.once
def test_a_worker_can_be_interrupted(template) -> None:
    with template() as origin:
        ready(origin)
        with fork(origin) as worker:
            id = worker.ready().request(path="/sleep")
            worker.wait_for_log("sleeping")
            worker.order(frames.INTERRUPT, id)
            assert b"time.sleep" in worker.control_message(frames.STACK).payload
            worker.process.send_signal(signal.SIGTERM)
            worker.process.kill()


@pytest.mark.once
def test_an_import_error_is_reported(template) -> None:
    with template(mode="raises") as origin:
        reader = Reader(origin.control_message(frames.BOOT_FAILED).payload)
        assert "raised LookupError: no such shop" in reader.text().decode()
        assert b"preloaded.py" in reader.text()
        assert origin.process.wait(PATIENCE) == 3


@pytest.mark.once
def test_a_failed_lifespan_is_the_workers(template) -> None:
    with template("lifespans:fails") as origin:
        ready(origin)
        for _ in range(2):
            with fork(origin) as worker:
                reader = Reader(worker.control_message(frames.BOOT_FAILED).payload)
                assert "the application refused to start: no database" in reader.text().decode()
                assert worker.process.wait(PATIENCE) == 3


@pytest.mark.ends
def test_threads_of_the_import_are_warned_of(template) -> None:
    with template(mode="thread") as origin:
        ready(origin)
        warning = [line for line in origin.errors().splitlines() if "1 thread (poller)" in line]
        assert len(warning) == 1 and "a fork copies only the main thread" in warning[0]
        with fork(origin) as worker:
            assert worker.ready().get("/threads").body == b"MainThread"
    with template() as origin:
        ready(origin)
        assert origin.errors() == ""


@pytest.mark.once
def test_an_application_that_ignores_the_end_of_children(template) -> None:
    with template(mode="ignore-children") as origin:
        ready(origin)
        for _ in range(3):
            with fork(origin) as worker:
                assert worker.ready().get("/who").status == 200


@pytest.mark.ends
def test_output_of_its_own(template) -> None:
    """What was printed during the import and not flushed is written once, by the template."""
    with template(mode="unflushed") as origin:
        ready(origin)
        texts = []
        for _ in range(2):
            (out, stdout), (err, stderr) = os.pipe(), os.pipe()
            with fork(origin, stdout, stderr) as worker:
                os.close(stdout)
                os.close(stderr)
                worker.ready().get("/print")
                pid = worker.process.pid
                assert worker.finish() == 0
            with os.fdopen(out) as out_text, os.fdopen(err) as err_text:
                texts.append((out_text.read() == f"from {pid}\n", err_text.read()))
        assert texts == [(True, ""), (True, "")]


@pytest.mark.once
def test_a_fork_that_dies_is_no_worker(template) -> None:
    """The kernel tells: nobody holds the birth socket any more, or, once it was born, its pidfd."""
    with template(mode="hook-dies") as origin:
        ready(origin)
        with fork(origin) as worker:
            assert worker.process.wait(PATIENCE) == 7
    with template() as origin:
        ready(origin)
        assert_no_children_but(origin)


@pytest.mark.once
def test_a_fork_that_is_not_adopted_ends(start) -> None:
    """Its parent must be the host that the template was told of, or nothing would ever end it."""
    with start("preloaded", template_of=1) as origin:
        ready(origin)
        with pytest.raises(Refused, match="^$"):
            fork(origin)
        pid, status = os.waitpid(-1, 0)
        assert pid != origin.process.pid and os.waitstatus_to_exitcode(status) == 1
        assert_no_children_but(origin)


@pytest.mark.once
def test_orders_that_are_none_end_the_template(template) -> None:
    wrong = [
        (lambda origin: origin.order(frames.NUDGE), "not an order for a template"),
        (lambda origin: origin._write(origin.control, b"\xff" * 16), "malformed frame on the control link"),
        (lambda origin: order(origin, descriptors=2), "an order to fork lacks descriptors"),
        (lambda origin: origin._write(origin.control, frames.frame(frames.FORK, payload=b"\x03")), "not an order"),
    ]
    for send, why in wrong:
        with template() as origin:
            ready(origin)
            ends = send(origin) or ()
            assert origin.process.wait(PATIENCE) == 1
            assert why in origin.errors()
            for end in ends:
                end.close()


@pytest.mark.once
def test_an_order_to_fork_ends_a_worker(start) -> None:
    with start("preloaded") as worker:
        worker.ready()
        worker._write(worker.control, frames.frame(frames.FORK, payload=b"\x03"))
        assert worker.process.wait(PATIENCE) == 1
        assert "an order to fork, which is for a template" in worker.errors()


def assert_no_children_but(origin: Worker) -> None:
    """Nothing but the template is there to be waited for."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError as error:
        assert error.errno == errno.ECHILD
        return
    assert found is None or found.si_pid == origin.process.pid
