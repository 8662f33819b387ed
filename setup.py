"""The compiled extensions: which C kernels each Cython stem links. Metadata is in pyproject.toml."""

import copy
import os
import platform
import runpy
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("engine/_native")
SIP = ["sip", "sip_scan", "sip_headers", "sip_values", "address"]
SDP = ["sdp", "sdp_media", "sdp_attributes", "sdp_codecs", "mime"]
PACKET = ["capture", "capture_blocks", "link", "link_tunnels", "fragment", "hep", "websocket"]
PACKET += ["tcp", "tcp_order", "tcp_frame"]
RTP = ["rtp", "rtp_stream", "rtp_payload", "rtp_quality", "rtp_export", "rtp_merge", "rtcp", "emodel"]
TRACE = ["ingest", "absorb", "tls_flights", "pass", "assemble", "offer_answer", "correlate", "tables", "conditions", "hash"]
TRACE += sorted(path.stem for path in (NATIVE / "c").glob("conditions_*.c"))
CODECS = ["codecs", "codec_pcmu", "codec_pcma", "codec_l16", "codec_g722", "codec_opus", "g711", "g722"]
WRITER = ["writer", "writer_wav", "writer_ogg", "writer_pcap"]
PLANE = ["plane", "plane_receive", "plane_deliver", "plane_send", "plane_capture"]
ORDER = ["rtp_packet", "jitter", "timeline", "latch"]
SESSION = ["rtp_source", "rtcp_session", "telephone_event"]
VOICE = ["tones", "dtmf_reader", "plc", "comfort_noise"]
KERNELS = {
    "plane": PLANE + ORDER + SESSION + CODECS + VOICE + WRITER + ["mix", "resample"],
    "audio": ["g711", "mix", "resample"],
    "codec": CODECS,
    "tones": VOICE,
    "jitter": ORDER,
    "rtp_session": SESSION,
    "writer": WRITER,
    "folder": ["folder"],
    "sip": SIP,
    "sip_route": ["sip_route"],
    "udp": [],
    "sdp": SIP + SDP,
    "packet": [*PACKET, "address"],
    "rtp": RTP,
    "trace": SIP + SDP + PACKET + RTP + TRACE,
}

sanitize = os.environ.get("TRUNKLINE_SANITIZE")
compile_args = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-function"]
link_args = ["-Wl,-z,relro,-z,now"] if platform.system() == "Linux" else []
if sanitize:
    compile_args += ["-O1", "-g", f"-fsanitize={sanitize}", "-fno-sanitize-recover=undefined"]
    link_args += [f"-fsanitize={sanitize}"]
else:
    compile_args += ["-O3", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2"]


def extension(stem: str) -> Extension:
    kernels = [NATIVE / "c" / f"{name}.c" for name in KERNELS[stem]]
    return Extension(
        f"engine._native.{stem}",
        [str(NATIVE / f"{stem}.pyx"), *(str(path) for path in kernels if path.exists())],
        include_dirs=[str(NATIVE / "c")],
        depends=[str(path) for path in sorted((NATIVE / "c").glob("*.h"))],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )


class BuildApart(build_ext):
    """Each module has its objects to itself: kernels are linked into several, and two that are built at once would write the same files."""

    def build_extension(self, ext: Extension) -> None:
        """Builds one module."""
        apart = copy.copy(self)
        apart.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(apart, ext)


chosen = os.environ.get("TRUNKLINE_STEMS", "").split(",")  # to build some only, while others are being worked on
stems = [stem for stem in KERNELS if (NATIVE / f"{stem}.pyx").exists() and (chosen == [""] or stem in chosen)]
modules = cythonize(
    [extension(stem) for stem in stems],
    build_dir="build/cython",
    compiler_directives={"language_level": 3, "binding": True, "autotestdict": False, "embedsignature": False},
)
if chosen == [""] or "srtp" in chosen:
    modules.append(runpy.run_path(str(NATIVE / "srtp_build.py"))["extension"](compile_args, link_args))
setup(ext_modules=modules, cmdclass={"build_ext": BuildApart})
