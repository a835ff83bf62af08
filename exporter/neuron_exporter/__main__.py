"""`python -m neuron_exporter` is `neuron-exporter`."""

import sys

from neuron_exporter.cli import main

sys.exit(main())
