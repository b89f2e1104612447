"""The whole system: real broker, real worker processes, real terraform, real SIGKILL."""
