"""baresip in tests: a telephone without sound hardware, told what to do over its control connection, which also says what happens to it.

It listens for UDP and TCP on one port and for TLS on the next. Its microphone is a tone, or a file. Debian's 1.0.0 has no loudspeaker that
is a file, but writes down what it decoded (`heard`). It knows neither WebSocket nor Replaces: it can transfer blindly only, and takes a
Replaces in Refer-To for a part of the URI.
"""

from __future__ import annotations

import itertools
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from tests.flow.certificates import Certificates
from tests.flow.program import Program, bracketed, path_of, program
from tests.ports import free_ports

Transport = Literal["udp", "tcp", "tls"]
Answer = Literal["auto", "manual"]
WAIT_S: Final = 20.0
MODULES: Final = "/usr/lib/baresip/modules"
RTP_PORTS: Final = 40
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")


class Event(msgspec.Struct, frozen=True):
    """What happened: CALL_INCOMING, CALL_RINGING, CALL_PROGRESS, CALL_ESTABLISHED, CALL_CLOSED, CALL_DTMF_START, TRANSFER, REGISTER_OK, ..."""

    type: str
    id: str = ""
    peeruri: str = ""
    direction: str = ""
    param: str = ""


class _Response(msgspec.Struct, frozen=True):
    ok: bool = False
    data: str = ""
    token: str = ""
    response: bool = False


class Baresip:
    """One that runs."""

    def __init__(self, program: Program, control: socket.socket, user: str, host: str, port: int, home: Path) -> None:
        self.program = program
        self.user = user
        self.host = host
        self.port = port
        self.home = home
        self.events: list[Event] = []  # all so far
        self._unseen: list[Event] = []
        self._control = control
        self._data = b""
        self._answers: dict[str, _Response] = {}
        self._tokens = itertools.count(1)

    def uri(self, transport: Transport = "udp") -> str:
        """Where it is called without a proxy."""
        port = self.port + (transport == "tls")
        return f"sip:{self.user}@{bracketed(self.host)}:{port}{'' if transport == 'udp' else f';transport={transport}'}"

    @property
    def heard(self) -> list[Path]:
        """WAV files of what it heard in its calls, at the codec's rate and before any buffer of a loudspeaker; only where it has a `microphone`. They are whole when
        the call is over. Calls that begin in the same second write to the same one."""
        return sorted(self.home.glob("dump-*-dec.wav"))

    def told(self) -> str:
        """Its log, with every SIP message it sent and got."""
        return _ESCAPES.sub("", self.program.told())

    # ---- what it is told to do ----

    def dial(self, uri: str) -> None:
        """Calls somebody."""
        self.command("dial", uri)

    def accept(self) -> None:
        """Answers a call that came."""
        self.command("accept")

    def hangup(self) -> None:
        """Ends or refuses the current call."""
        self.command("hangup")

    def hold(self) -> None:
        """Offers sendonly in the current call."""
        self.command("hold")

    def resume(self) -> None:
        """Offers sendrecv again."""
        self.command("resume")

    def transfer(self, uri: str) -> None:
        """Asks the other side of the current call to call somebody else (a REFER); the call ends when that is answered."""
        self.command("transfer", uri)

    def send_dtmf(self, digits: str) -> None:
        """Presses keys, as telephone events (RFC 4733) between the sounds."""
        self.command("sndcode", digits)

    def command(self, name: str, parameters: str = "") -> str:
        """Gives it a command of its menu; what it says to that. Raises AssertionError when it will not."""
        token = str(next(self._tokens))
        written = msgspec.json.encode({"command": name, "params": parameters, "token": token})
        self._control.sendall(b"%d:%b," % (len(written), written))
        deadline = time.monotonic() + WAIT_S
        while token not in self._answers:
            self._read(deadline, f"does not answer to {name!r}")
        answer = self._answers.pop(token)
        assert answer.ok, f"baresip {self.user} refused {name!r} {parameters!r}: {answer.data}"
        return answer.data

    # ---- what happens to it ----

    def wait_registered(self) -> None:
        """Until its registrar has it. Its log says so: the event may be over before anybody listens to it."""
        self.program.wait_for_told("} 200 OK (")

    def wait_for(self, kind: str, within_s: float = WAIT_S) -> Event:
        """The first event of a type that was not waited for yet. Raises AssertionError when there is none in time."""
        deadline = time.monotonic() + within_s
        while True:
            for event in self._unseen:
                if event.type == kind:
                    self._unseen.remove(event)
                    return event
            self._read(deadline, f"tells of no {kind}")

    def forget(self) -> None:
        """Leaves what was told so far to nobody: the next `wait_for` sees later events only."""
        while select.select([self._control], [], [], 0)[0]:
            self._read(time.monotonic() + WAIT_S, "is silent")
        self._unseen.clear()

    def _read(self, deadline: float, wanted: str) -> None:
        readable, _, _ = select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))
        piece = self._control.recv(65536) if readable else b""
        assert piece, f"baresip {self.user} {wanted}; it told of {[event.type for event in self.events]}"
        self._data += piece
        while (netstring := _first(self._data)) is not None:
            text, self._data = netstring
            if b'"event":true' in text:
                event = msgspec.json.decode(text, type=Event)
                self.events.append(event)
                self._unseen.append(event)
            else:
                response = msgspec.json.decode(text, type=_Response)
                self._answers[response.token] = response


def _first(data: bytes) -> tuple[bytes, bytes] | None:
    """A netstring, and what is behind it; None when it is not there whole."""
    length, colon, rest = data.partition(b":")
    if not colon or len(rest) <= int(length):
        return None
    return rest[: int(length)], rest[int(length) + 1 :]


@contextmanager
def baresip(
    folder: Path, user: str, *, proxy: str = "", register: bool = False, answer: Answer = "manual", host: str = "127.0.0.1",
    password: str = "", certificates: Certificates | None = None, account: Sequence[str] = (), microphone: Path | None = None,
    modules: Sequence[str] = (), settings: Sequence[str] = (),
) -> Iterator[Baresip]:  # fmt: skip
    """Runs one with an account for `user`. All it sends outside of calls goes to `proxy`, a URI, where there is one; with `register` it
    registers there: `wait_registered` says when. `account` are further parameters of its account.

    `microphone` is a WAV file that it says, from the begin of each call on; it hangs up at its end. Nothing resamples it where its rate is the
    codec's. `modules` are further ones, `settings` further lines of its configuration.

    What it calls is reached as the proxy's URI says, or else the called one.
    """
    proxy = proxy.removesuffix(";lr")  # it puts that there itself
    home = folder / user
    home.mkdir(parents=True, exist_ok=True)
    port, control_port, media_port = free_ports(2, (host,)), free_ports(), free_ports(RTP_PORTS, (host,))
    (home / "config").write_text(_configuration(home, host, port, control_port, media_port, certificates, microphone, modules, settings))
    (home / "contacts").write_text("")
    (home / "accounts").write_text(
        ";".join((
            _address(user, proxy, host), f"answermode={answer}", f"regint={600 if register else 0}", *([f'outbound="{proxy}"'] if proxy else []),
            *([f"auth_user={user}", f"auth_pass={password}"] if password else []), *account,
        )) + "\n"
    )  # fmt: skip
    command = [path_of("baresip"), "-f", str(home), "-p", str(home), "-s", "-v"]
    with program(f"baresip-{user}", command, home) as running:
        running.wait_for_told("baresip is ready.")
        running.wait_for_ports(("udp", port), ("tcp", port), ("tcp", control_port))
        with socket.create_connection(("127.0.0.1", control_port), timeout=WAIT_S) as control:
            yield Baresip(running, control, user, host, port, home)


def _address(user: str, proxy: str, host: str) -> str:
    """The account's address of record: at the proxy, where there is one. A transport in it would be put behind every URI that is called,
    and stand there twice where that has one."""
    found = re.match(r"sips?:(?:[^@;]*@)?(\[[^\]]*\]|[^:;]+)(:\d+)?", proxy)
    at = f"{found[1]}{found[2] or ''}" if found else bracketed(host)
    return f"<sip:{user}@{at}>"


def _configuration(
    home: Path, host: str, port: int, control_port: int, media_port: int, certificates: Certificates | None,
    microphone: Path | None, modules: Sequence[str], settings: Sequence[str],
) -> str:  # fmt: skip
    if microphone is None:
        sound = ["audio_source ausine,440", "ausrc_srate 48000", "ausrc_channels 2"]
    else:
        sound = [f"audio_source aufile,{microphone}", "module sndfile.so", f"snd_path {home}"]
    lines = [
        f"sip_listen {bracketed(host)}:{port}", f"net_interface {host}", f"module_path {MODULES}", "module g711.so", "module ausine.so",
        "module aufile.so", "module_tmp uuid.so", "module_tmp account.so", "module_app menu.so", "module_app ctrl_tcp.so",
        f"ctrl_tcp_listen 127.0.0.1:{control_port}", *sound, "audio_player aufile",
        "ringback_disabled yes", "menu_bell no", "statmode_default off", f"rtp_ports {media_port}-{media_port + RTP_PORTS}", "jitter_buffer_delay 1-50",
        f"audio_path {home}", "call_max_calls 8",
        *(f"module {name}.so" for name in modules), *settings,
    ]  # fmt: skip
    if certificates is not None:
        lines += [f"sip_certificate {certificates.server.both}", f"sip_cafile {certificates.authority}"]
    return "\n".join([*lines, ""])


__all__ = ["Answer", "Baresip", "Event", "Transport", "baresip"]
