"""`python -m exporter` is `neuron-exporter`."""

import sys

from exporter.cli import main

sys.exit(main())
