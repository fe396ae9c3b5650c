"""The page of a listening test: one file, which needs no network and no server."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from wavediff.evaluation.listening.plan import Plan, identity
from wavediff.evaluation.web import PLAYER, base64, joined, policy_hash

FOLDER = Path(__file__).parent
SCRIPTS = ("random.js", "session.js", "elements.js", "trial.js", "app.js")


def page(plan: Plan, sounds: Mapping[str, bytes]) -> str:
    """Return the HTML.

    Sounds are within it, because scripts cannot read files beside a page that is opened from a
    disk, and one file can be sent by mail and opened on a phone.

    Args:
        plan: the test.
        sounds: FLAC files by the names that the plan has.
    """
    style = joined(FOLDER / "page.css")
    script = joined(*PLAYER, *(FOLDER / name for name in SCRIPTS))
    blocks = "\n".join(
        f'<script type="text/plain" id="sound-{name}">{base64(sound)}</script>'
        for name, sound in sounds.items()
    )
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(plan.title),
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        identity=identity(plan.encoded()),
        plan=plan.base64(),
        style=style,
        sounds=blocks,
        script=script,
    )
