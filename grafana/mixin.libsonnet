// The dashboards and rules for users of mixins, such as kube-prometheus:
//   (import 'neuron-exporter/grafana/mixin.libsonnet')
// It imports the generated files; edit their sources (see README.md).
{
  grafanaDashboards+:: {
    'neuron-exporter-cloudwatch-fleet.json': import 'dashboards/cloudwatch-fleet.json',
    'neuron-exporter-cloudwatch-machine.json': import 'dashboards/cloudwatch-machine.json',
    'neuron-exporter-exporter.json': import 'dashboards/exporter.json',
    'neuron-exporter-fleet.json': import 'dashboards/fleet.json',
    'neuron-exporter-machine.json': import 'dashboards/machine.json',
    'neuron-exporter-workload.json': import 'dashboards/workload.json',
  },
  prometheusAlerts+:: {
    groups+: std.parseYaml(importstr 'rules/alerts.yml').groups,
  },
  prometheusRules+:: {
    groups+: std.parseYaml(importstr 'rules/recordings.yml').groups,
  },
}
