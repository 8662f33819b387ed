"""Commands for the files of recordings, without a server: decrypt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from api.commands import Refused, loaded, settings

SUFFIX: Final = ".enc"
INCOMPLETE: Final = 1


def decrypt(args: argparse.Namespace) -> int:
    """Decrypts a file with a folder of master keys. With --recover what is whole at the beginning of a damaged file; the exit code is 1 then."""
    import secrets
    import time

    from engine.recordings.keys import MasterKeys, keys_of
    from engine.recordings.vault import Vault, decrypt_file

    path = Path(args.file)
    target = Path(args.output) if args.output else path.with_suffix("")
    if not args.output and path.suffix != SUFFIX:
        raise Refused(f"where to: --output FILE ({path.name} does not end in {SUFFIX})")
    if target.exists():
        raise Refused(f"{target} is there already")
    if args.keys:
        keys = MasterKeys(Path(args.keys), rotation_s=0, now=time.time, random=secrets.token_bytes)
    else:
        told = loaded(args)
        keys = keys_of(told.config.encryption, told.data_dir, now=time.time, random=secrets.token_bytes)
    if not args.recover:
        print(f"{target}: {decrypt_file(path, target, keys)} bytes")
        return 0
    found = Vault(keys, random=secrets.token_bytes).recover(path, target)
    print(f"{target}: {found.bytes} bytes")
    if not found.is_whole:
        print(f"trunkline: {path}: {found.problem}", file=sys.stderr)
        return INCOMPLETE
    return 0


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds them to the command line."""
    one = command("decrypt", decrypt, "an encrypted file of a recording, with the folder of master keys alone")
    one.add_argument("file", metavar="FILE", help=f"the file, as it lies on the disk or in the bucket (*{SUFFIX})")
    settings(one)
    one.add_argument("--keys", metavar="DIR", help="folder of master keys; the configured one without it")
    one.add_argument("--output", metavar="FILE", help=f"write there instead of beside it without {SUFFIX}")
    one.add_argument("--recover", action="store_true", help="of a damaged or cut file, write what is whole at its beginning")


__all__ = ["add_commands", "decrypt"]
