"""Values and decisions. No I/O, no clock, no database: functions take values and `now_ms` and return a value."""
