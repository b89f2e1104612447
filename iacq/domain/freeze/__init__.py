"""When a pool is frozen. One function decides, `deciding.decide`; dispatch, claims and scaling all ask it.

windows.py   the values that a pool keeps: windows, a freeze by hand, a bypass; and how windows are stored
writing.py   the same values from what people write; refuses what cannot be meant
spans.py     from when until when each of them freezes
deciding.py  frozen or not, why, until when; the days to come
wording.py   a decision in words
zones.py     moments and the clocks of a time zone

Nothing here keeps a clock or a file but the time zone database of the machine (`zoneinfo`).
"""
