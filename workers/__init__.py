"""The programs of iacq's processes: wiring only. Nothing imports them."""
