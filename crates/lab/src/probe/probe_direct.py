"""Servers without a router in front, of the standard library only: `probe_direct.py sync|threads|async SIZE [SEND_BUFFER]`.

What the claims about connections are compared with: each of them does with a connection what its kind of server does.

  sync     SIZE processes, each of which accepts a connection, reads its request, answers, closes it, and takes the next
  threads  one process that gives connections to SIZE threads in the order in which they came
  async    one process with an event loop; SIZE is not used

Serves the probe applications on a port that it prints. Everything else about it is as simple as can be: one request for each
connection, GET only, no time limits. Ends with its parent.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

BACKLOG = 2_048
HEAD = 65_536
PR_SET_PDEATHSIG = 1


def end_with(parent):
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def parse(head):
    """Path and query of a GET; None for anything else."""
    parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(parts) != 3 or parts[0] != "GET":
        return None
    path, _, query = parts[1].partition("?")
    return path, query


def head_of(status, headers):
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def answer(connection, app):
    """One request of a connection. Whoever has left is noticed only when sending fails."""
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(HEAD)
            head += piece
            if not piece or len(head) > HEAD:
                return
        target = parse(head)
        if target is None:
            return
        started = []
        environ = {"PATH_INFO": target[0], "QUERY_STRING": target[1], "REQUEST_METHOD": "GET"}
        body = app(environ, lambda status, headers: started.append((status, headers)))
        connection.sendall(head_of(*started[0]))
        for piece in body:
            connection.sendall(piece)


def careful(connection, app):
    try:
        answer(connection, app)
    except OSError:
        pass  # the client has left


def sync(listener, size, ready):
    import probe_wsgi

    parent = os.getpid()
    for _ in range(size):
        if os.fork() == 0:
            end_with(parent)
            while True:
                careful(listener.accept()[0], probe_wsgi.app)
    ready()
    listener.close()
    while True:
        signal.pause()


def threads(listener, size, ready):
    import probe_wsgi

    ready()
    with ThreadPoolExecutor(size) as pool:
        while True:
            pool.submit(careful, listener.accept()[0], probe_wsgi.app)


def event_loop(listener, _size, ready):
    import probe_asgi

    async def serve(reader, writer):
        try:
            target = parse(await reader.readuntil(b"\r\n\r\n"))
            if target is not None:
                await respond(writer, *target)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()

    async def respond(writer, path, query):
        async def send(message):
            if message["type"] == "http.response.start":
                headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
                writer.write(head_of(f"{message['status']} X", headers))
            else:
                writer.write(message["body"])
            await writer.drain()

        scope = {"type": "http", "path": path, "query_string": query.encode("latin-1")}
        await probe_asgi.app(scope, None, send)

    async def run():
        server = await asyncio.start_server(serve, sock=listener, backlog=BACKLOG)
        await server.serve_forever()

    ready()
    asyncio.run(run())


def main():
    end_with(os.getppid())
    mode, size = sys.argv[1], int(sys.argv[2])
    listener = socket.socket()
    if len(sys.argv) > 3:
        # Inherited by every connection that is accepted.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(sys.argv[3]))
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    port = listener.getsockname()[1]
    serve = {"sync": sync, "threads": threads, "async": event_loop}[mode]
    # When all its processes are there. Connections wait until they are accepted.
    serve(listener, size, lambda: print(port, flush=True))


main()
