"""vaderSentiment: the sentiment of English sentences by a lexicon and rules, in Python; a call a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.sip_doctor import PROGRAM

NAME = "vaderSentiment 3.3.2"
PYTHON = PROGRAM.with_name("python")
SCRIPT = """
import json, sys, time
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
texts, rounds = json.load(open(sys.argv[1])), int(sys.argv[2])
analyzer = SentimentIntensityAnalyzer()
best = 1e9
for _ in range(rounds):
    begin = time.thread_time()
    scores = [analyzer.polarity_scores(text)["compound"] for text in texts]
    best = min(best, time.thread_time() - begin)
print(json.dumps([best, scores]))
"""


def install() -> None:
    """From the package index, into the peers' own environment."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parents[1]], check=True)
    if subprocess.run([PYTHON, "-c", "import vaderSentiment"], check=False, capture_output=True).returncode:
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "vaderSentiment==3.3.2"], check=True)


def run(texts: Sequence[str], rounds: int, folder: Path) -> tuple[float, list[float]]:
    """Seconds for all texts once, and their scores, -1 to 1."""
    install()
    path = folder / "texts"
    path.write_text(json.dumps(list(texts)))
    told = subprocess.run([PYTHON, "-c", SCRIPT, path, str(rounds)], check=True, capture_output=True)
    seconds, scores = json.loads(told.stdout)
    return seconds, scores
