"""The `alarms` command: alarm rules, and the CloudFormation template made of them."""
