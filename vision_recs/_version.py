"""The version, which the lowest rooms may read: importing the package itself would point up."""

__version__ = "0.1.0"
