"""The `task-definition` command: ECS task definitions with the exporter in them."""
