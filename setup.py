"""The package is described in pyproject.toml. Here is only what lets `pip install -e .` install its
data file: for that setuptools asks for a `has_data`, but its own method has another name.
"""

from setuptools import Distribution, setup


class DataToo(Distribution):
    """A distribution whose data files are installed by an editable install, too."""

    has_data = Distribution.has_data_files


setup(distclass=DataToo)
