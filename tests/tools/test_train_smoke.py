import importlib.util
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

TOOLS = Path(__file__).parents[2] / "tools"
sys.path.insert(0, str(TOOLS))
spec = importlib.util.spec_from_file_location("train_smoke", TOOLS / "train_smoke.py")
smoke = importlib.util.module_from_spec(spec)
spec.loader.exec_module(smoke)


def test_every_recipe_has_made_up_data():
    with initialize_config_dir(str(smoke.CONF), version_base=None):
        configs = {name: compose("train", [f"recipe={name}"]) for name in smoke.recipes()}
    missing = {
        name for name, config in configs.items() if smoke.dataset_of(config) not in smoke.LAYOUTS
    }
    assert not missing
