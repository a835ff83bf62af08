"""In the place of scikit-learn, whose data cannot be fetched everywhere."""
