"""Analytics of what is said, utterances a second on one core. All times are of the processor."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.measure import Row
from bench.peers import vader
from engine.analytics.call import CallAnalytics, Terms
from engine.analytics.languages import LANGUAGES
from engine.analytics.payloads import ids
from engine.analytics.phrases import Phrases
from engine.analytics.sentiment import label_of, sentiment
from engine.analytics.service import AnalyticsService
from engine.analytics.tokens import tokens
from engine.bus import Message
from engine.config import Config
from engine.config.document import Analytics
from engine.keeping import Keeping
from engine.siprec.events import SESSION_TOPIC, TRANSCRIPT_TOPIC, SessionEvent, Transcript
from engine.siprec.facts import ChannelFacts, Party, SessionFacts, Vendor

# What people say on the telephone, and how that feels.
SAID = {
    "positive": (
        "thank you so much for your help today", "that is great news, I really appreciate it", "you have been very patient and kind", "perfect, that solved it",
        "I am so happy with this service", "oh wonderful, it is working again", "I'd recommend you to all of my friends", "that was quick and easy, thanks",
        "it was an excellent experience", "not bad at all, I am pleased", "you guys are awesome", "I'm glad we could resolve that", "that's no problem at all",
        "it was slow at first but now it is fantastic",
    ),
    "negative": (
        "this is absolutely terrible", "I am really frustrated with this service", "my router isn't working and nobody helps me, it's awful", "that is not acceptable",
        "I have been waiting for two weeks and I'm angry", "your support is useless", "I don't like the way I was treated", "I was overcharged again, this is ridiculous",
        "I want to cancel, I am very disappointed", "it broke again and I'm fed up", "he was rude and lied to me", "that's the worst company I know",
        "the start was good but the rest was horrible", "I'm not happy with it",
    ),
    "neutral": (
        "what is your account number", "I will transfer you to the other department", "the office opens at nine on Monday", "could you spell that for me",
        "my address is twelve Station Road", "let me look at the invoice", "it arrived on Tuesday", "hello this is Anna speaking", "I moved here in March",
        "please hold the line", "we have three plans", "the code has six digits",
    ),
}  # fmt: skip
CALLS = 5000
BEGAN = 1_700_000_000.0


def rows(quick: bool) -> Iterator[Row]:
    """Sentiment beside vaderSentiment; phrases beside a regular expression; an utterance whole, by itself and through the service."""
    repeats = 3 if quick else 10
    texts = [text for said in SAID.values() for text in said] * 20
    random.Random(1).shuffle(texts)
    words = len(texts) / _best(lambda: [tokens(text) for text in texts], repeats)
    with tempfile.TemporaryDirectory() as folder:
        yield _sentiment(texts, words, repeats, Path(folder))
        yield _phrases(texts, repeats)
        yield _utterance(texts, words, repeats)
        yield asyncio.run(_service(texts, words, 4000 if quick else 20_000, Path(folder)))


def _best(function: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest call."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.thread_time()
        function()
        best = min(best, time.thread_time() - begin)
    return best


def _sentiment(texts: list[str], words: float, repeats: int, folder: Path) -> Row:
    english = LANGUAGES["en"]
    taken = _best(lambda: [sentiment(tokens(text), english) for text in texts], repeats)
    labelled = [(label, text) for label, said in SAID.items() for text in said]
    spent, _ = vader.run(texts, repeats, folder)
    _, scores = vader.run([text for _, text in labelled], 1, folder)
    ours = sum(sentiment(tokens(text), english).label == label for label, text in labelled)
    theirs = sum(label_of(score) == label for (label, _), score in zip(labelled, scores, strict=True))
    check = f"labels right: {ours} of {len(labelled)}, theirs {theirs}"
    return Row("analytics-sentiment", "utt/s", len(texts) / taken, vader.NAME, len(texts) / spent, "words alone", words, check, ours >= 0.9 * len(labelled))


def _phrases(texts: list[str], repeats: int) -> Row:
    """A thousand phrases, and ten times as many: what each costs."""
    chance = random.Random(2)
    known = sorted({word for text in texts for word in tokens(text)})
    said = [tokens(text) for text in texts]
    phrases = [" ".join(chance.choices(known, k=chance.randint(2, 4))) for _ in range(10_000)]
    phrases[:20] = [" ".join(chance.choice(said)[1:4]) for _ in range(20)]  # some that are said
    plain = [" ".join(each) for each in said]
    count = sum(map(len, said))
    few, many = Phrases(phrases[:1000]), Phrases(phrases)
    pattern = re.compile(rf"(?=\b(?:{'|'.join(map(re.escape, sorted(set(phrases[:1000]))))})\b)")
    taken, more = (_best(lambda automaton=automaton: [automaton.find(each) for each in said], repeats) for automaton in (few, many))  # type: ignore[misc]
    spent = _best(lambda: [pattern.findall(each) for each in plain[:100]], 1) * len(plain) / 100
    found = sum(len({match.begin for match in few.find(each)[0]}) for each in said)  # a place once, as the expression has it
    theirs = sum(len(pattern.findall(each)) for each in plain)
    check = f"places={found}{'' if found == theirs else f'!={theirs}'}; ten times the phrases cost {more / taken:.2f} times as much"
    return Row("analytics-phrases", "word/s", count / taken, "re, alternation", count / spent, check=check, passed=found == theirs)


def _facts(number: int) -> SessionFacts:
    return SessionFacts(
        call_id=f"call-{number}", recording_id=f"rec-{number}", created_at=BEGAN,
        participants=(Party(place=0, participant_id="a", aor="sip:alice@example.com", role="customer"), Party(place=1, participant_id="b", aor="sip:bob@example.com", role="agent")),
        channels=(ChannelFacts(index=0, label="1", parties=(0,)), ChannelFacts(index=1, label="2", parties=(1,))), vendor=Vendor(type="oracle", identifiers={"oracle_ucid": "00FA"}),
    )  # fmt: skip


def _said(texts: list[str], number: int, turn: int) -> Transcript:
    begin = turn * 4.0
    return Transcript(
        call_id=f"call-{number}", channel=turn % 2, text=texts[(number * 7 + turn) % len(texts)], is_final=True, start_time=begin, end_time=begin + 3.0, confidence=0.9,
        language="en-US", provider="bench",
    )  # fmt: skip


def _utterance(texts: list[str], words: float, repeats: int) -> Row:
    """All that is made of a final text: payloads, alerts, a snapshot each, as documents."""
    terms, new_id = Terms.of(Analytics(enabled=True)), ids()
    turns = 1000

    def talk() -> int:
        call = CallAnalytics("call-0", terms, new_id=new_id)
        call.on_session(SessionEvent(kind="started", at=BEGAN, session=_facts(0)))
        return sum(len(call.on_transcript(said, BEGAN + said.end_time)) for said in heard)

    heard = [_said(texts, 0, turn) for turn in range(turns)]
    taken = _best(talk, repeats)
    check = f"{talk() / turns:.1f} messages an utterance; {_call_bytes(texts, terms):,.0f} bytes a call behind 100 utterances"
    return Row("analytics-utterance", "utt/s", turns / taken, limit="words alone", limit_value=words, check=check)


def _call_bytes(texts: list[str], terms: Terms) -> float:
    calls, new_id = 100, ids()
    new_id()
    heard = [[_said(texts, number, turn) for turn in range(100)] for number in range(calls)]
    gc.collect()
    tracemalloc.start()
    kept = []
    for number in range(calls):
        call = CallAnalytics(f"call-{number}", terms, new_id=new_id)
        call.on_session(SessionEvent(kind="started", at=BEGAN, session=_facts(number)))
        for said in heard[number]:
            call.on_transcript(said, BEGAN + said.end_time)
        kept.append(call)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(kept)


async def _service(texts: list[str], words: float, count: int, folder: Path) -> Row:
    """From the bytes of the bus to the bytes of the bus, 5,000 calls at once, their transcripts on the disk."""
    sent = 0

    async def announce(topic: str, payload: Any) -> None:
        nonlocal sent
        sent += len(msgspec.msgpack.encode(payload)) > 0

    now = BEGAN
    keeping = Keeping(
        config=Config(analytics=Analytics(enabled=True)), data_dir=folder, bus=cast(Any, None), store=lambda: None, clock=lambda: now, catalogue=cast(Any, None), announce=announce
    )
    service = AnalyticsService(keeping)
    service._start(service._send())
    for number in range(CALLS):
        event = SessionEvent(kind="started", at=BEGAN, session=_facts(number))
        await service._on_session(Message("worker.0", SESSION_TOPIC, msgspec.msgpack.encode(event)))
    heard = [
        Message("worker.0", TRANSCRIPT_TOPIC, msgspec.msgpack.encode(_said(texts, turn % CALLS, turn // CALLS))) for turn in range(count)
    ]
    begin = time.thread_time()
    for at, message in enumerate(heard):
        await service._on_transcript(message)
        if at % 100 == 0:
            now = BEGAN + at // CALLS * 4.0
            service._files.flush()
            await asyncio.sleep(0)
    while service._outgoing or service._arrived:
        await asyncio.sleep(0)
    taken = time.thread_time() - begin
    await service.close()
    passed = service.dropped == 0 and sent >= 3 * count
    check = f"{sent:,} messages told, {service.dropped} dropped, {CALLS:,} calls; enough for calls with an utterance each 4 s: {4 * count / taken:,.0f}"
    return Row("analytics-service", "utt/s", count / taken, limit="words alone", limit_value=words, check=check, passed=passed)
