"""Stand-in for scikit-learn, which downloads its data."""
