"""Checkpoints of other DiffWave projects, turned into ours: one file per format."""

from wavediff.tasks.foreign.model import ForeignModel, Overrides
from wavediff.tasks.foreign.read import foreign_file, read_foreign

__all__ = ["ForeignModel", "Overrides", "foreign_file", "read_foreign"]
