"""Run `neuron-exporter` as `python -m neuron_exporter`."""

import sys

from neuron_exporter.cli.main import main

sys.exit(main())
