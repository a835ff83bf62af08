"""Owners of cores, devices and processes: the kubelet, ECS, cgroups and pod labels."""
