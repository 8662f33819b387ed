"""Call-IDs found without the tokenizer: the same ones as with it, and their hash, from a plain-Python SipHash."""

from __future__ import annotations

import mmap
from pathlib import Path
from random import Random

import pytest

from engine._native import sip
from engine._native.sip_route import KEY_BYTES, bench_call_id_hash, call_id_hash, call_id_owner, hash_of
from tests.fuzz.test_sip_fuzz import SEEDS, Fence, mutated

TESTS = Path(__file__).parents[2]
KEY = bytes(range(16))
WORD = (1 << 64) - 1


def siphash(data: bytes, key: bytes = KEY) -> int:
    """SipHash-2-4 as its paper puts it."""
    low, high = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573]

    def turn(at: int, by: int) -> None:
        v[at] = (v[at] << by | v[at] >> (64 - by)) & WORD

    def add(to: int, what: int) -> None:
        v[to] = (v[to] + v[what]) & WORD

    def rounds(number: int) -> None:
        for _ in range(number):
            for to, what, by, other in ((0, 1, 13, 32), (2, 3, 16, 0), (0, 3, 21, 0), (2, 1, 17, 32)):
                add(to, what)
                turn(what, by)
                v[what] ^= v[to]
                if other:
                    turn(to, other)

    whole = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(whole), 8):
        word = int.from_bytes(whole[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 255
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def expected(data: bytes | memoryview) -> int | None:
    """Hash of what the tokenizer finds. Raises Malformed where it takes no start line."""
    values = sip.scan(data).header("Call-ID")
    return siphash(values[0]) if values and values[0] else None


def check(data: bytes) -> None:
    """Both ways of finding agree with the tokenizer, and with one another where that refuses the bytes."""
    found = call_id_hash(data, KEY)
    assert call_id_hash(data, KEY, scalar=True) == found
    assert call_id_owner(data, KEY, 7) == (-1 if found is None else found % 7)
    try:
        wanted = expected(data)
    except sip.Malformed:
        return
    assert found == wanted, data


def message(*lines: bytes, end: bytes = b"\r\n") -> bytes:
    return end.join((b"OPTIONS sip:a@b SIP/2.0", b"Via: SIP/2.0/UDP h;branch=z9hG4bK1", *lines, b"CSeq: 1 OPTIONS", b"", b"i: body"))


# ---- the hash ----


def test_the_hash_is_siphash_2_4() -> None:
    """The first and the last vector of its paper's appendix, and the twin on every length up to four words."""
    assert hash_of(b"", KEY) == siphash(b"") == 0x726FDB47DD0E0E31
    assert hash_of(KEY[:15], KEY) == siphash(KEY[:15]) == 0xA129CA6149BE45E5
    random = Random(3)
    for size in range(33):
        text, key = random.randbytes(size).replace(b"\n", b"x"), random.randbytes(16)
        assert hash_of(text, key) == siphash(text, key)


def test_another_key_is_another_hash() -> None:
    data = message(b"Call-ID: a")
    assert call_id_hash(data, KEY) == hash_of(b"a", KEY)
    assert call_id_hash(data, KEY) != call_id_hash(data, bytes(16))


@pytest.mark.parametrize("key", [b"", KEY[:15], KEY + b"x"])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    assert len(KEY) == KEY_BYTES
    for call in (call_id_hash, hash_of, bench_call_id_hash):
        with pytest.raises(ValueError, match="16 bytes"):
            call(b"x", key)
    with pytest.raises(ValueError, match="16 bytes"):
        call_id_owner(b"x", key, 2)


def test_there_is_at_least_one_worker() -> None:
    with pytest.raises(ValueError, match="at least one"):
        call_id_owner(message(b"Call-ID: a"), KEY, 0)


def test_messages_are_shared_out_evenly() -> None:
    shares = [0] * 4
    for at in range(4000):
        shares[call_id_owner(message(b"Call-ID: %d@host" % at), KEY, 4)] += 1
    assert min(shares) > 850


# ---- where it stands ----


@pytest.mark.parametrize("line", [
    b"Call-ID: abc@d", b"call-id:abc@d", b"CALL-ID:\tabc@d  ", b"i: abc@d", b"I:abc@d", b"Call-ID  : abc@d", b"i\t: abc@d",
    b"Call-ID:\r\n abc@d", b"Call-ID\r\n\t: abc@d\r\n ", b"i\r\n :\r\n\tabc@d", b"\rCall-ID: abc@d", b"\r\r\ri: abc@d", b"Call-ID: abc@d\r",
])  # fmt: skip
def test_the_value_is_found_in_every_form(line: bytes) -> None:
    for data in (message(line), message(line).replace(b"\r\n", b"\n"), b"\r\n\r\n" + message(line), message(line, b"Call-ID: second")):
        check(data)
        assert call_id_hash(data, KEY) == hash_of(b"abc@d", KEY)


@pytest.mark.parametrize("line", [
    b"Call-ID:", b"Call-ID: \t", b"i:\r\n ", b"Call-IDs: x", b"XCall-ID: x", b"Call-I: x", b"Call_ID: x", b"Call\rID: x", b"Cali-ID: x",
    b"Call-ID", b"Call-ID x", b"i x", b"ii: x", b"Subject: y\r\n Call-ID: x", b"Subject: y\r\n\ti: x", b"i\x01: x", b'"Call-ID": x',
    b"", b"\r", b"\r\r", b"v=0", b"v=0\r", b"\n", b":", b"i", b"\xe9: x",
])  # fmt: skip
def test_what_is_no_call_id_is_not_taken_for_one(line: bytes) -> None:
    for data in (message(line), message(line).replace(b"\r\n", b"\n"), message(line)[: message(line).index(line) + len(line)]):
        check(data)
        assert call_id_hash(data, KEY) is None


@pytest.mark.parametrize("line", [b"", b"\r", b"\r\r", b"v=0", b"v=0\r"])
def test_nothing_behind_the_end_of_the_headers_counts(line: bytes) -> None:
    assert call_id_hash(message(line, b"Call-ID: x"), KEY) is None
    check(message(line, b"Call-ID: x"))


@pytest.mark.parametrize("line", [b"v=0 ", b"v=0\r\n x", b"\rv=0", b"v=1", b"V=0", b"\r\r\n x", b" \r", b"Via", b"v:=0", b"c:", b"Ca"])
def test_what_does_not_end_the_headers_is_passed_over(line: bytes) -> None:
    for data in (message(line, b"Call-ID: x"), message(line, b"Call-ID: x", end=b"\n")):
        check(data)
        assert call_id_hash(data, KEY) == hash_of(b"x", KEY)


@pytest.mark.parametrize("fold", [b"\r\n ", b"\n\t", b" \t \r\r\n \t ", b"\r \n ", b" \r \r\n\t", b"\t\r\r \r\n ", b" " * 70 + b"\r\n "])
def test_a_folded_value_hashes_as_it_reads_unfolded(fold: bytes) -> None:
    for value in (b"abc" + fold + b"def", b"a" + fold + b"b" + fold + b"c", b"seven77" + fold + b"x" * 40):
        data = message(b"Call-ID: " + value)
        check(data)
        assert call_id_hash(data, KEY) == hash_of(sip.scan(data).header("Call-ID")[0], KEY)


def test_a_call_id_at_any_offset_of_a_block_is_found() -> None:
    for pad in range(140):
        for line in (b"Call-ID: abc", b"i:abc", b"Call-ID:\r\n abc"):
            data = message(b"X: " + b"x" * pad, line)
            assert call_id_hash(data, KEY) == call_id_hash(data, KEY, scalar=True) == hash_of(b"abc", KEY)
            check(data[:-20])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read(kind: type) -> None:
    assert call_id_hash(kind(message(b"i: q")), KEY) == hash_of(b"q", KEY)


@pytest.mark.parametrize("data", ["text", None, 7])
def test_what_is_no_buffer_is_refused(data: object) -> None:
    with pytest.raises(TypeError):
        call_id_hash(data, KEY)  # type: ignore[arg-type]


# ---- corpora and hostile bytes ----


def corpora() -> list[Path]:
    folders = (TESTS / "data", TESTS / "rfc")
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".md"))


def pieces(path: Path) -> list[bytes]:
    """Whatever could be a message, from the start of a line on: a long piece of it and a short one."""
    data = path.read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]
    return [data[at : at + size] for at in starts if sip.sniff(data[at : at + 4000]) for size in (4000, 300)]


@pytest.mark.parametrize("path", corpora(), ids=lambda path: path.name)
def test_every_message_of_the_corpora_is_read_as_the_tokenizer_reads_it(path: Path) -> None:
    for data in [path.read_bytes(), *pieces(path)]:
        check(data)


def test_the_corpora_hold_messages_with_and_without_call_id() -> None:
    found = [call_id_hash(data, KEY) for path in corpora() for data in pieces(path)]
    assert len(found) > 500
    assert None in found
    assert len(set(found)) > 60


@pytest.mark.parametrize("seed", range(6))
def test_mutated_messages_are_read_as_the_tokenizer_reads_them(seed: int) -> None:
    random = Random(seed)
    more = [message(b"Call-ID:\r\n abc\r\n def"), message(b"\rI : x"), message(b"v=0", b"i: x"), message(b"Subject: x\r\n i: y", b"i:z")]
    for _ in range(2500):
        check(mutated(random, random.choice(SEEDS + more)))


def test_short_combinations_of_what_matters_are_read_as_the_tokenizer_reads_them() -> None:
    random, pieces = Random(11), (b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"i", b"Call-ID", b"v=0", b"x", b"X: y")
    for _ in range(20_000):
        check(b"A b SIP/2.0" + b"\r\n" * (random.random() < 0.9) + b"".join(random.choices(pieces, k=random.randrange(14))))


@pytest.mark.parametrize("data", SEEDS)
def test_every_truncation_is_read_as_the_tokenizer_reads_it(data: bytes) -> None:
    for end in range(len(data) + 1):
        check(data[:end])


def test_no_read_goes_beyond_the_last_byte() -> None:
    """A read of one byte too many ends the process."""
    fence, random = Fence(), Random(1)
    for seed in [*SEEDS, message(b"Call-ID\r\n :\r\n\tabc"), b"\r", b"\r\n", b"x\ni", b"x\n\r", b"x\nv=0", b"x\nCall-ID", b"x\nCall-ID:"]:
        for end in range(len(seed) + 1):
            view = fence.put(seed[:end])
            assert call_id_hash(view, KEY) == call_id_hash(view, KEY, scalar=True)
        for _ in range(200):
            view = fence.put(mutated(random, seed)[: mmap.PAGESIZE])
            assert call_id_hash(view, KEY) == call_id_hash(view, KEY, scalar=True)


@pytest.mark.parametrize("piece", [
    b"\r", b"\n", b"\r\n ", b"i\r\n ", b"Call-ID\r\n ", b"\r\r\n ", b"i\n", b"Call-ID\n", b"v=0 \n", b"c", b"\r\nCa",
    b"Call-ID \r\n\t\n", b" \r",
])  # fmt: skip
def test_long_hostile_heads_are_read_once(piece: bytes) -> None:
    """Two MiB of what makes a reader look again: quadratic reading would not come back."""
    many = piece * (2**21 // len(piece))
    for data in (many, b"A b SIP/2.0\r\n" + many, b"A b SIP/2.0\r\nCall-ID: x" + many + b"y"):
        assert call_id_hash(data, KEY) == call_id_hash(data, KEY, scalar=True)


def test_the_benchmark_runs_what_it_says() -> None:
    assert bench_call_id_hash(SEEDS[0], KEY, 10) >= 0.0
