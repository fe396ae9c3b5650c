"""Conversion of checkpoints of other DiffWave projects: one file per format."""

from wavediff.tasks.importers.model import ForeignModel, Overrides
from wavediff.tasks.importers.read import foreign_file, read_foreign

__all__ = ["ForeignModel", "Overrides", "foreign_file", "read_foreign"]
