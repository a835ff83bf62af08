"""At-least-once delivery of requests, shared by the sinks that send."""
