"""Commands reach the service through its socket; nonsense is answered, silence is not waited for."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.service.control import MAX_CALLERS, ControlServer, ask, control_file
from touchline.errors import InputError, LinkError, ResourceError

DEADLINE_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ControlServer]:
    one = ControlServer(tmp_path)
    yield one
    one.close()


def served(server: ControlServer, answer: dict[str, object], turns: int = 2) -> threading.Thread:
    def serve() -> None:
        import select

        left = turns
        while left:
            for fd in select.select(server.filenos(), [], [], DEADLINE_S)[0]:
                left -= 1
                wanted = server.take(fd)
                if wanted is not None:
                    server.answer(wanted.caller, {**answer, "asked": wanted.what})

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_question_and_its_answer(server, tmp_path):
    thread = served(server, {"ok": True, "text": "done"})
    assert ask(tmp_path, "handover", DEADLINE_S) == {"ok": True, "text": "done", "asked": "handover"}
    thread.join(DEADLINE_S)
    assert len(server.filenos()) == 1


def test_a_refusal_is_an_error_with_its_words(server, tmp_path):
    thread = served(server, {"ok": False, "text": "the twin is not fit"})
    with pytest.raises(InputError, match="the twin is not fit"):
        ask(tmp_path, "handover", DEADLINE_S)
    thread.join(DEADLINE_S)


def test_an_answer_that_is_none_is_an_error_in_words(server, tmp_path):
    thread = served(server, {"ok": True, "text": 70_000 * "x"})  # a message is cut at 64 KiB
    with pytest.raises(LinkError, match="is none"):
        ask(tmp_path, "status", DEADLINE_S)
    thread.join(DEADLINE_S)


def test_nonsense_is_answered_with_what_can_be_asked(server, tmp_path):
    thread = served(server, {"ok": True})
    with pytest.raises(InputError, match="ask for one of status, handover"):
        ask(tmp_path, "explode", DEADLINE_S)
    thread.join(DEADLINE_S)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[1]", b"3", b'{"do": ["status"]}', b"{", b"[" * 60_000])
def test_any_bytes_are_survived(server, tmp_path, data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        end.connect(str(control_file(tmp_path)))
        end.send(data)
        server.take(server.filenos()[0])
        assert server.take(server.filenos()[1]) is None
    assert len(server.filenos()) == 1


def test_a_caller_who_goes_away(server, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        end.connect(str(control_file(tmp_path)))
        server.take(server.filenos()[0])
        end.send(b'{"do": "status"}')
        wanted = server.take(server.filenos()[1])
    assert wanted is not None and wanted.what == "status"
    server.answer(wanted.caller, {"ok": True})
    server.answer(wanted.caller, {"ok": True})
    assert len(server.filenos()) == 1


def test_callers_are_bounded(server, tmp_path):
    ends = []
    for _ in range(MAX_CALLERS + 2):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.connect(str(control_file(tmp_path)))
        server.take(server.filenos()[0])
        ends.append(end)
    assert len(server.filenos()) == 1 + MAX_CALLERS
    for end in ends:
        end.close()


def test_who_may_ask(server, tmp_path):
    assert stat.S_IMODE(control_file(tmp_path).stat().st_mode) == 0o660


def test_no_service(tmp_path):
    with pytest.raises(LinkError, match="no failover service answers"):
        ask(tmp_path, "status")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ResourceError, match="control socket"):
        ControlServer(tmp_path / "nowhere")
