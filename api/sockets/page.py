"""/websocket-client: a page to try the sockets with. Nothing is fetched from elsewhere, and what comes is shown as text."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from litestar import Response, get

from api.scopes import PUBLIC

STYLE: Final = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1b1b; background: #fff }
form { display: grid; grid-template-columns: max-content 1fr; gap: .5rem 1rem; align-items: center }
input, select, button { font: inherit; padding: .3rem .5rem }
#state { margin: 1rem 0; font-weight: 600 }
#messages { font: 12px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid #ccc; padding-top: .5rem }
@media (prefers-color-scheme: dark) { body { color: #e8e8e8; background: #181818 } }
"""

SCRIPT: Final = """
"use strict";
const $ = (id) => document.getElementById(id);
const KEPT = 500;
let socket = null;
function show(text) {
  const line = document.createElement("div");
  line.textContent = new Date().toISOString() + "  " + text;
  $("messages").prepend(line);
  while ($("messages").childElementCount > KEPT) $("messages").lastElementChild.remove();
}
function connect(event) {
  event.preventDefault();
  if (socket) socket.close();
  const url = new URL($("kind").value, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if ($("call").value) url.searchParams.set("call_id", $("call").value);
  // as a subprotocol, so that the key stands in no address and no log
  const opened = $("token").value ? new WebSocket(url, [$("token").value]) : new WebSocket(url);
  socket = opened;
  $("state").textContent = "connecting";
  opened.onopen = () => { $("state").textContent = "connected"; };
  opened.onmessage = (message) => show(message.data);
  opened.onclose = (end) => {
    if (socket === opened) $("state").textContent = "closed: " + end.code + " " + end.reason;
  };
}
function send(type) {
  if (!socket || socket.readyState !== WebSocket.OPEN) return;
  const message = { type };
  if (type === "subscribe") message.call_id = $("call").value;
  socket.send(JSON.stringify(message));
}
$("form").onsubmit = connect;
for (const type of ["subscribe", "unsubscribe", "ping"]) $(type).onclick = () => send(type);
"""

PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Live calls</title>
<style>{STYLE}</style>
<h1>Live calls</h1>
<form id="form">
<label for="kind">Follow</label>
<select id="kind"><option value="/ws/transcriptions">transcriptions</option><option value="/ws/analytics">analytics</option></select>
<label for="call">Call-ID</label>
<input id="call" maxlength="128" placeholder="all calls" autocomplete="off">
<label for="token">Key or token</label>
<input id="token" type="password" autocomplete="off">
<span></span>
<span><button>Connect</button> <button type="button" id="subscribe">Subscribe</button>
<button type="button" id="unsubscribe">Unsubscribe</button> <button type="button" id="ping">Ping</button></span>
</form>
<p id="state" role="status">not connected</p>
<div id="messages"></div>
<script>{SCRIPT}</script>
</html>
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# CSP 3: 'self' is ws and wss of this server too
CSP: Final = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@get("/websocket-client", opt={"scopes": PUBLIC}, include_in_schema=False, sync_to_thread=False)
def websocket_client() -> Response[str]:
    """The page."""
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": CSP})


__all__ = ["websocket_client"]
