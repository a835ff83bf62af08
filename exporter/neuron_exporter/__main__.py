"""`python -m neuron_exporter` is `neuron-exporter`."""

import sys

from neuron_exporter.cli.main import main

sys.exit(main())
