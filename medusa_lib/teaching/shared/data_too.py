"""How `pip install -e .` installs the data file that pyproject.toml names, see there."""

from __future__ import annotations

from setuptools.command.editable_wheel import editable_wheel


class EditableWheel(editable_wheel):
    """An editable install with its data files: setuptools asks for them by another name."""

    def run(self) -> None:
        """Answer that name, then install."""
        self.distribution.has_data = self.distribution.has_data_files
        super().run()
