"""What the peers are known to get wrong, in one place.

A test listed here is expected to fail against that peer, for the reason given, and it is reported as xfail.
The entries are strict: when a peer's new release passes, the run fails until the line is removed, so the
table stays true. A reason that begins with "sometimes" is a race the peer may also win: it is not strict.
For serpentry nothing can be listed: `reason_for` refuses it.
Both parts of a key are fnmatch patterns, "gunicorn*" being both of its workers; in the second, the test id
below tests/blackbox, "[" is literal. The first line that matches counts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

KNOWN: dict[tuple[str, str], str] = {
    # Request parsing.
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-CL beyond 64 bits]",
    ): "takes any number of digits and waits for that many bytes",
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-chunk size of 17 digits*]",
    ): "takes any number of digits and waits for that many bytes",
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-no Host on 1.1]",
    ): "does not require Host on HTTP/1.1 (RFC 9112 3.2: must be 400)",
    ("gunicorn*", "test_bad_http.py::test_refused[*-Host with a *]"): "does not check the form of Host",
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-HTTP/?.0]",
    ): "answers an unknown version with 400, not 505",
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-HTTP/9.9]",
    ): "answers an unknown version with 400, not 505",
    (
        "gunicorn*",
        "test_bad_http.py::test_refused[*-head too big]",
    ): "limits each field and their number, not the whole head",
    (
        "gunicorn*",
        "test_bad_http.py::test_body_cut_short_never_looks_whole[*]",
    ): "hands the application a body cut short as if it were whole",
    (
        "gunicorn*",
        "test_wsgi_errors.py::test_body_cut_short_is_an_error_for_the_application[*-length]",
    ): "hands the application a body cut short as if it were whole",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-TE unknown]",
    ): "calls the application although it cannot decode the body, answers 400 later",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-TE xchunked]",
    ): "calls the application although it cannot decode the body, answers 400 later",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-TE quoted]",
    ): "calls the application although it cannot decode the body, answers 400 later",
    ("uvicorn", "test_bad_http.py::test_refused[*-TE on HTTP/1.0]"): "decodes Transfer-Encoding on HTTP/1.0",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-no Host on 1.1]",
    ): "does not require Host on HTTP/1.1 (RFC 9112 3.2: must be 400)",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-two *Hosts]",
    ): "takes two Host fields (RFC 9112 3.2: must be 400)",
    ("uvicorn", "test_bad_http.py::test_refused[*-Host with a *]"): "does not check the form of Host",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-HTTP/2.0]",
    ): "serves a request line of HTTP/2.0 as if it were 1.1",
    ("uvicorn", "test_bad_http.py::test_refused[*-HTTP/3.0]"): "answers an unknown version with 400, not 505",
    ("uvicorn", "test_bad_http.py::test_refused[*-HTTP/9.9]"): "answers an unknown version with 400, not 505",
    ("uvicorn", "test_bad_http.py::test_refused[*-another protocol]"): "serves RTSP/1.0 as if it were HTTP",
    ("uvicorn", "test_bad_http.py::test_refused[*-HTTP/0.9]"): "serves a request line without a version",
    ("uvicorn", "test_bad_http.py::test_refused[*-two spaces]"): "takes two spaces after the method",
    ("uvicorn", "test_bad_http.py::test_refused[*-request line too long]"): "answers 400, not 414",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-too many fields]",
    ): "has no limit for the head (with httptools)",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-field too big]",
    ): "has no limit for the head (with httptools)",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-head too big]",
    ): "has no limit for the head (with httptools)",
    (
        "uvicorn",
        "test_bad_http.py::test_refused[*-chunk extension without end]",
    ): "has no limit for chunk extensions",
    ("uvicorn", "test_bad_http.py::test_refused[*-chunk trailer without end]"): "has no limit for trailers",
    # WSGI.
    (
        "gunicorn*",
        "test_wsgi.py::test_repeated_cookies_are_joined_with_semicolons[*]",
    ): "joins repeated Cookie fields with a comma, which changes them",
    (
        "gunicorn*",
        "test_wsgi.py::test_exc_info_replaces_headers_not_yet_sent[*]",
    ): "start_response with exc_info adds to the first headers instead of replacing them",
    (
        "gunicorn",
        "test_wsgi.py::test_input_does_not_read_into_the_next_request[*]",
    ): "the sync worker has no keep-alive",
    (
        "gunicorn*",
        "test_wsgi_http.py::test_one_known_part_gets_a_content_length[*]",
    ): "sends a list of one chunked (PEP 3333: may add Content-Length)",
    (
        "gunicorn*",
        "test_wsgi_http.py::test_date_and_server_of_the_application_win[*]",
    ): "replaces Date and Server of the application with its own",
    ("gunicorn", "test_wsgi_http.py::test_keep_alive_on_1_*"): "the sync worker has no keep-alive",
    ("gunicorn", "test_wsgi_http.py::test_pipelined_*"): "the sync worker has no keep-alive",
    ("gunicorn", "test_connections.py::*"): "the sync worker has no keep-alive",
    (
        "gunicorn-gthread",
        "test_wsgi_http.py::test_big_body_nobody_read[*]",
    ): "sometimes: resets the connection under the answer when a body was not read",
    (
        "gunicorn*",
        "test_wsgi_errors.py::test_mistake_*[*-body-str]",
    ): "the head goes out before the first part is checked, so a 500 is no longer possible",
    (
        "gunicorn*",
        "test_wsgi_errors.py::test_mistake_*[*-body-int]",
    ): "the head goes out before the first part is checked, so a 500 is no longer possible",
    (
        "gunicorn*",
        "test_wsgi_errors.py::test_mistake_*[*-content-length-negative]",
    ): "sends a negative Content-Length of the application on",
    (
        "gunicorn",
        "test_wsgi_errors.py::test_mistake_*[*-no-start]",
    ): "answers with the status line 'HTTP/1.1 None'",
    (
        "gunicorn*",
        "test_wsgi_errors.py::test_application_cannot_end_with_an_interim_status[*]",
    ): "sends 1xx of the application on as if it were final",
    (
        "gunicorn-gthread",
        "test_wsgi_errors.py::test_system_exit_does_not_take_the_server_down[*]",
    ): "SystemExit(3) in a request ends the worker and then the whole server ('Worker failed to boot')",
    # ASGI.
    (
        "uvicorn",
        "test_asgi.py::test_framing_*-GET-/status?code=?04&body=forbidden]",
    ): "sends the body of a 204 or 304, or cuts, when the application gives one",
    (
        "uvicorn",
        "test_asgi.py::test_chunked_on_1_1_and_close_on_1_0[*]",
    ): "sends chunked to an HTTP/1.0 client",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-raise-after-start]",
    ): "sends the head at once, the specification says with the first body message",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-start-*]",
    ): "sends the head at once, the specification says with the first body message",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-body-???]",
    ): "sends the head at once, the specification says with the first body message",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-status-interim]",
    ): "sends 1xx of the application on with a body",
    ("uvicorn", "test_asgi_errors.py::test_mistake_*[*-status-*]"): "cuts the connection without an answer",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-header-name-empty]",
    ): "sends a header with an empty name",
    ("uvicorn", "test_asgi_errors.py::test_mistake_*[*-header-*]"): "cuts the connection without an answer",
    (
        "uvicorn",
        "test_asgi_errors.py::test_mistake_*[*-content-length-text]",
    ): "cuts the connection without an answer",
    (
        "uvicorn",
        "test_asgi_errors.py::test_lifespan_error_at_shutdown_still_ends",
    ): "takes an error at shutdown for 'lifespan unsupported' and hides it",
    (
        "uvicorn",
        "test_websocket.py::test_exception_after_accept_closes_with_1011[*]",
    ): "drops the connection without a close frame",
    (
        "uvicorn",
        "test_websocket.py::test_first_frame_in_the_same_packet_as_the_handshake[*]",
    ): "loses a frame that arrives together with the handshake",
    (
        "uvicorn",
        "test_proxy_headers.py::test_root_path[*]",
    ): "prepends --root-path to a path that has it already",
    # Life and death.
    (
        "gunicorn*",
        "test_failures.py::test_kills_under_load_fail_no_repeatable_request[*]",
    ): "sometimes: what the killed worker had accepted is lost with it",
    (
        "uvicorn",
        "test_failures.py::test_kills_under_load_fail_no_repeatable_request[*]",
    ): "what the killed worker had accepted is lost with it",
    (
        "uvicorn",
        "test_lifecycle.py::test_hup_serves_new_code_and_loses_nothing[*]",
    ): "closes keep-alive connections under the next request",
    (
        "uvicorn",
        "test_lifecycle.py::test_max_requests_recycles_without_failures[*]",
    ): "closes keep-alive connections under the next request",
    (
        "gunicorn*",
        "test_lifecycle.py::test_boot_failure_ends_with_the_cause[*-exits at import]",
    ): "starts a worker that dies at import again, for ever",
    (
        "uvicorn",
        "test_lifecycle.py::test_boot_failure_ends_with_the_cause[*-not callable]",
    ): "starts with an application that is not callable and fails at each request",
    ("gunicorn*", "test_proxy_headers.py::test_client_*"): "leaves X-Forwarded-For to the application",
    (
        "gunicorn*",
        "test_proxy_headers.py::test_repeated_forwarded_for_is_one_list[*]",
    ): "leaves X-Forwarded-For to the application",
}


def reason_for(server: str, test_id: str) -> str | None:
    """Why `server` is known to fail `test_id`, or None."""
    if server == "serpentry":
        return None
    for (peer, pattern), reason in KNOWN.items():
        if fnmatchcase(server, peer) and fnmatchcase(test_id, pattern.replace("[", "[[]")):
            return reason
    return None
