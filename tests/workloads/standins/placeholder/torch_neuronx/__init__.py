"""As the package of that name on PyPI: there is nothing in it."""
