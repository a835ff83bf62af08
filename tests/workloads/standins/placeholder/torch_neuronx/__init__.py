"""Empty, like the package of this name on PyPI."""
