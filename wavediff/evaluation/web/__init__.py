"""Pages that need no network and no server: what they share, beside the player in ``player.js``."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

WEB = Path(__file__).parent
PLAYER = (WEB / "base64.js", WEB / "player.js")
# the player of a comparison with its buttons and keys: scripts and style
RECORDING = (*PLAYER, WEB / "recording.js")
RECORDING_STYLE = WEB / "recording.css"
STYLE = WEB / "tables.css"  # of pages with results


def joined(*files: Path) -> str:
    """Return scripts or styles as one."""
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def policy_hash(text: str) -> str:
    """Return the source of a Content-Security-Policy that allows exactly this script or style."""
    return f"sha256-{base64(sha256(text.encode()).digest())}"


def base64(data: bytes) -> str:
    """Return a file as pages hold it."""
    return b64encode(data).decode()


def printable(text: str) -> str:
    """Replace control characters, which could affect the text around."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
