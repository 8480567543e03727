"""Our own socket: where it lies, who may write to it, what is said when there is no ptp4l."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.clock.management.endpoint import DEFAULT_PATHS, PREFIX, Endpoint, default_folder
from agent.clock.management.errors import Unreachable
from touchline.errors import ConfigError, ResourceError
from touchline.timeline import monotonic_ns


def listener(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(path))
    return made


def gone_pid() -> int:
    argv = [sys.executable, "-c", "import os; print(os.getpid())"]
    return int(subprocess.run(argv, capture_output=True, check=True).stdout)


@contextmanager
def nobody() -> Iterator[None]:
    """Root is denied nothing: be somebody else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_it_is_there_while_open_and_writable_for_everyone(tmp_path):
    with Endpoint([tmp_path / "ptp4l"], tmp_path) as endpoint:
        facts = endpoint.path.stat()
        assert stat.S_ISSOCK(facts.st_mode)
        assert stat.S_IMODE(facts.st_mode) == 0o666
        assert endpoint.path.name.startswith(f"{PREFIX}{os.getpid()}-")
    assert list(tmp_path.iterdir()) == []
    endpoint.close()
    with pytest.raises(ValueError, match="closed"):
        endpoint.fileno()


def test_its_mode_can_be_chosen(tmp_path):
    with Endpoint([tmp_path / "ptp4l"], tmp_path, 0o600) as endpoint:
        assert stat.S_IMODE(endpoint.path.stat().st_mode) == 0o600


def test_only_the_one_that_it_is_connected_to_can_send(tmp_path):
    with (
        listener(tmp_path / "ptp4l") as server,
        listener(tmp_path / "stranger") as stranger,
        Endpoint([tmp_path / "ptp4l"], tmp_path) as endpoint,
    ):
        endpoint.connect()
        with pytest.raises(PermissionError):
            stranger.sendto(b"x", str(endpoint.path))
        server.sendto(b"y", str(endpoint.path))
        assert endpoint.wait(monotonic_ns())
        assert endpoint.receive() == b"y"
        assert endpoint.receive() is None


def test_unread_datagrams_of_ptp4l_do_not_fill_a_short_queue(tmp_path):
    """ptp4l's sends block: an unconnected socket would stop it after net.unix.max_dgram_qlen of them."""
    with listener(tmp_path / "ptp4l") as server, Endpoint([tmp_path / "ptp4l"], tmp_path) as endpoint:
        endpoint.connect()
        server.setblocking(False)
        for _ in range(100):
            server.sendto(b"x" * 104, str(endpoint.path))


def test_the_first_path_where_one_listens_is_taken(tmp_path):
    listener(tmp_path / "left").close()
    with listener(tmp_path / "ro") as _, Endpoint([tmp_path / n for n in ("none", "left", "ro")], tmp_path) as endpoint:
        endpoint.connect()
        assert endpoint.server == tmp_path / "ro"
        assert endpoint.connected()


def test_one_that_began_anew_at_the_same_path_is_another(tmp_path):
    path = tmp_path / "ptp4l"
    with Endpoint([path], tmp_path) as endpoint:
        with listener(path):
            endpoint.connect()
            assert endpoint.connected()
        path.unlink()
        assert not endpoint.connected()
        with listener(path) as server:
            endpoint.connect()
            assert endpoint.send(b"again", monotonic_ns())
            assert server.recv(10) == b"again"


@pytest.mark.parametrize(
    ("prepare", "message", "hint"),
    [
        (lambda path: None, "No such file", "start ptp4l"),
        (lambda path: listener(path).close(), "Connection refused", "start it again"),
        (lambda path: path.write_text(""), "Connection refused", "start it again"),
    ],
    ids=["nothing", "left behind", "a file"],
)
def test_without_a_ptp4l_it_says_what_to_do(tmp_path, prepare, message, hint):
    path = tmp_path / "ptp4l"
    prepare(path)
    with Endpoint([path], tmp_path) as endpoint, pytest.raises(Unreachable, match=message) as caught:
        endpoint.connect()
    assert hint in caught.value.hint
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 6


def test_another_programs_client_is_no_ptp4l(tmp_path):
    with listener(tmp_path / "elsewhere"), listener(tmp_path / "client") as client:
        client.connect(str(tmp_path / "elsewhere"))
        with Endpoint([tmp_path / "client"], tmp_path) as endpoint, pytest.raises(Unreachable) as caught:
            endpoint.connect()
    assert "uds_address" in caught.value.hint


def test_a_stream_socket_is_no_ptp4l(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "stream"))
        server.listen()
        with Endpoint([tmp_path / "stream"], tmp_path) as endpoint, pytest.raises(Unreachable) as caught:
            endpoint.connect()
    assert "another kind of socket" in caught.value.hint


@pytest.mark.parametrize("what", ["socket", "folder"])
def test_a_ptp4l_that_this_user_may_not_write_to_names_the_rights(tmp_path, what):
    folder = tmp_path / "theirs"
    folder.mkdir()
    with listener(folder / "ptp4l"), Endpoint([folder / "ptp4l"], tmp_path) as endpoint:
        (folder / "ptp4l" if what == "socket" else folder).chmod(0)
        with nobody(), pytest.raises(Unreachable, match="Permission denied") as caught:
            endpoint.connect()
        folder.chmod(0o700)
    assert "uds_file_mode" in caught.value.hint


def test_no_such_folder(tmp_path):
    with pytest.raises(ResourceError, match="nowhere"):
        Endpoint([tmp_path / "ptp4l"], tmp_path / "nowhere").open()


def test_a_path_that_is_too_long_is_named(tmp_path):
    with pytest.raises(ConfigError, match="at most 107"):
        Endpoint([tmp_path / "ptp4l"], tmp_path / ("x" * 100)).open()


def test_a_full_queue_of_ptp4l_is_waited_for_until_the_deadline(tmp_path):
    with listener(tmp_path / "ptp4l"), Endpoint([tmp_path / "ptp4l"], tmp_path) as endpoint:
        endpoint.connect()
        sent = 0
        while endpoint.send(b"x" * 54, monotonic_ns()):
            sent += 1
            assert sent < 100_000
        assert sent > 0


def test_sockets_of_killed_clients_are_removed_and_of_others_not(tmp_path):
    dead = tmp_path / f"{PREFIX}{gone_pid()}-0badcafe"
    listener(dead).close()
    ours = tmp_path / f"{PREFIX}{os.getpid()}-0badcafe"
    listener(ours).close()
    strange = tmp_path / f"{PREFIX}notes"
    strange.write_text("")
    with listener(tmp_path / f"{PREFIX}{gone_pid()}-1") as alive, Endpoint([tmp_path / "ptp4l"], tmp_path):
        assert not dead.exists()
        assert ours.exists()
        assert strange.exists()
        assert Path(alive.getsockname()).exists()


def test_the_default_folder_is_systemds_first(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/run/other")
    assert default_folder() == tmp_path
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "missing"))
    assert default_folder() != tmp_path / "missing"
    assert default_folder().is_dir()


def test_the_writable_sockets_are_looked_for_first():
    assert [path.name for path in DEFAULT_PATHS] == ["ptp4l", "ptp4l", "ptp4lro", "ptp4lro"]
