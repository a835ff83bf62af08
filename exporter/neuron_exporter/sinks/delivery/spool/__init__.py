"""What waits to be sent to CloudWatch again: on disk if that can be, else in memory."""
