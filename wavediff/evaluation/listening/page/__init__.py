"""The page of a listening test: one file, which needs no network and no server."""

import hashlib
import html
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from wavediff.evaluation.listening.plan import Plan, identity

FOLDER = Path(__file__).parent
SCRIPTS = ("random.js", "player.js", "session.js", "elements.js", "trial.js", "app.js")


def page(plan: Plan, sounds: Mapping[str, bytes]) -> str:
    """Return the HTML.

    Sounds are within it, because scripts cannot read files beside a page that is opened from a
    disk, and one file can be sent by mail and opened on a phone.

    Args:
        plan: the test.
        sounds: FLAC files by the names that the plan has.
    """
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    blocks = "\n".join(
        f'<script type="text/plain" id="sound-{name}">{b64encode(sound).decode()}</script>'
        for name, sound in sounds.items()
    )
    values = {
        "title": html.escape(plan.title),
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "identity": identity(plan.encoded()),
        "plan": plan.base64(),
        "style": style,
        "sounds": blocks,
        "script": script,
    }
    template = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _hash(text: str) -> str:
    """The source of a Content-Security-Policy that allows exactly this text."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
