import importlib.util
from pathlib import Path

from omegaconf import OmegaConf

TOOLS = Path(__file__).parents[2] / "tools"
spec = importlib.util.spec_from_file_location("train_smoke", TOOLS / "train_smoke.py")
smoke = importlib.util.module_from_spec(spec)
spec.loader.exec_module(smoke)


def test_every_recipe_has_made_up_data():
    recipes = [OmegaConf.load(path) for path in smoke.CONF.glob("recipe/*.yaml")]
    chosen = {
        entry["override /data"]
        for recipe in recipes
        for entry in recipe.defaults
        if "override /data" in entry
    }
    words = [word for words in smoke.recipes().values() for word in words]
    chosen |= {word.removeprefix("data=") for word in words if word.startswith("data=")}
    configs = [OmegaConf.load(smoke.CONF / "data" / f"{name}.yaml") for name in chosen]
    named = {smoke.dataset_of({"data": config}) for config in configs if "_target_" in config}
    assert named
    assert named <= smoke.LAYOUTS.keys()
