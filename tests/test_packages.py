import sys

import pytest

from wavediff.errors import UserError
from wavediff.packages import import_torchaudio


def test_a_torchaudio_that_does_not_load_is_one_sentence(tmp_path, monkeypatch):
    broken = tmp_path / "torchaudio.py"
    broken.write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"libcudart.*install a matching pair") as caught:
        import_torchaudio()
    assert "\n" not in str(caught.value)
