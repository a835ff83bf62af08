"""What tests share: the exporter as a process, real servers, and waiting on conditions."""
