"""Redis or Valkey: the way to it, and the embedded one."""
