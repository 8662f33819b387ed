"""Kamailio answering by itself, without a transaction or a dialog: as little work as a SIP server can do for a call."""

from __future__ import annotations

from pathlib import Path

from bench.peers.program import need

PROGRAM = "kamailio"
NAME = "Kamailio, stateless"
CONFIG = """\
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:%(port)d
mpath="%(modules)s/"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {
    if ($rm == "ACK") {
        exit;
    }
    if ($rm == "INVITE") {
        append_to_reply("Contact: <sip:bench@127.0.0.1:%(port)d>\\r\\n");
        sl_send_reply("180", "Ringing");
        append_to_reply("Contact: <sip:bench@127.0.0.1:%(port)d>\\r\\n");
        set_reply_body("v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nc=IN IP4 127.0.0.1\\r\\nt=0 0\\r\\nm=audio 40000 RTP/AVP 0\\r\\n", "application/sdp");
    }
    sl_send_reply("200", "OK");
}
"""


def install() -> None:
    """Installs Kamailio when it is missing."""
    need(PROGRAM)


def uas(port: int, folder: Path) -> list[str]:
    """The command of a server that answers every call."""
    config = folder / "kamailio.cfg"
    modules = next(Path("/usr/lib").glob("*/kamailio/modules"))
    config.write_text(CONFIG % {"port": port, "modules": modules})
    return [PROGRAM, "-f", str(config), "-DD", "-E", "-Y", str(folder), "-P", str(folder / "kamailio.pid"), "-m", "64", "-M", "8"]


__all__ = ["CONFIG", "NAME", "PROGRAM", "install", "uas"]
